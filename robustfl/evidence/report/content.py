"""What the report says, as plain data: report.json.

summary.typ lays it out without computing anything.
"""

from __future__ import annotations

from collections import Counter

from robustfl.data import DATASETS
from robustfl.evidence import figures
from robustfl.evidence.claims import Verdict
from robustfl.evidence.report import captions, cost, paragraphs, verdict_tables
from robustfl.evidence.report.wording import join_with_and, with_sign
from robustfl.evidence.tables import ACCURACIES, StudyRecords, display_label, group_table
from robustfl.study.experiments import Group, open_settings
from robustfl.study.record import Record
from robustfl.study.run_names import without_seed


def content(gathered: StudyRecords, judged: list[Verdict]) -> dict:
    """The whole report as JSON values."""
    study = gathered.study
    return {
        "scale": study.scale,
        "statement": study.about.statement,
        "warn": study.about.warn,
        "facts": facts(gathered),
        "protocols": protocols(gathered),
        "verdicts": verdict_tables.summary(judged)
        | {
            "headlines": verdict_tables.headlines(judged),
            "said": verdict_tables.sentences(judged),
            "details": verdict_tables.details(judged, gathered),
        },
        "cost": {
            "table": cost.table(gathered),
            "paragraph": cost.paragraph(gathered),
            "energy": cost.reports_energy(gathered),
        },
        "sections": [section(gathered, group) for group in study.groups.values()],
        "open": [[o.where, o.setting, o.reason] for o in open_settings(study.directory)],
        "provenance": provenance(gathered),
        "noise": noise(gathered),
        "hashes": hashes(gathered),
        "runs": run_list(gathered),
    }


def sizes(gathered: StudyRecords) -> str:
    """What really ran, by data set and protocol: a shortened study cannot pass for a whole one."""
    seen = {}
    for g in gathered.study.groups.values():
        for row in g.rows:
            r = gathered.runs_of(row)[0]
            p = r.metrics["provenance"]
            seen[f"{DATASETS[g.dataset].title}, {g.protocol} protocol"] = (
                f"{r.spec.model}, {r.spec.epochs} epochs, "
                f"{p['train_points'] + p['heldout_points']:,} training and {p['test_points']:,} "
                "test images"
            )
    return "; ".join(f"{k}: {v}" for k, v in seen.items())


def facts(gathered: StudyRecords) -> list[list[str]]:
    """What the title page says of the runs."""
    records = gathered.records.values()
    devices = Counter(device(r) for r in records)
    begin = min(r.metrics["provenance"]["begin"] for r in records)[:10]
    end = max(r.metrics["provenance"]["end"] for r in records)[:10]
    seconds = sum(sum(r.metrics["seconds"].values()) for r in records)
    return [
        ["Scale", gathered.study.scale],
        ["Runs", f"{len(gathered.records)} in {len(gathered.study.groups)} groups"],
        ["Seeds", ", ".join(map(str, gathered.study.seeds))],
        [
            "Device",
            join_with_and([f"{name} ({count} runs)" for name, count in sorted(devices.items())]),
        ],
        ["Dates of the runs", begin if begin == end else f"{begin} to {end}"],
        ["Time of all runs", f"{duration(seconds)} of selecting, training and evaluating"],
        ["Sizes", sizes(gathered)],
    ]


def device(r: Record) -> str:
    """The device of a run and the threads it used."""
    p = r.metrics["provenance"]
    threads = f"{p['threads']} thread{'s' * (p['threads'] != 1)}"
    return f"{p['device_name']} ({p['device'].upper()}), {threads}"


def duration(seconds: float) -> str:
    """Seconds in the largest unit that there are two of."""
    for size, unit in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def protocols(gathered: StudyRecords) -> list[str]:
    """One sentence per protocol: the setting most of its runs share, from the specs that ran."""
    specs: dict[str, list] = {}
    for g in gathered.study.groups.values():
        specs.setdefault(g.protocol, []).extend(
            gathered.study.specs[row.names[0]] for row in g.rows
        )
    return [protocol(name, runs) for name, runs in specs.items()]


def protocol(name: str, specs: list) -> str:
    """One protocol in a sentence: of each setting the value that most specs have."""

    def usual(key: str):
        return Counter(getattr(s, key) for s in specs).most_common(1)[0][0]

    # a rate that never drops is said to be constant, so that nobody looks for the milestones
    drops = [str(m) for m in usual("milestones")]
    rates = (
        f", times {usual('gamma'):g} after epoch{'s' * (len(drops) > 1)} {join_with_and(drops)}"
        if drops
        else ", constant"
    )
    warm = max(s.warmup for s in specs)
    return (
        f"{name}: {usual('model')}, {usual('epochs')} epochs, batch {usual('batch_size')}, "
        f"{usual('optimizer').upper()} with learning rate {usual('lr'):g}{rates}, momentum "
        f"{usual('momentum'):g}, weight decay {usual('weight_decay'):g}"
        + (f", the whole set for the first {warm} epoch{'s' * (warm > 1)}" if warm else "")
        + f", {100 * usual('holdout'):g} % of the training set held out, a new selection every "
        + (f"{usual('selection_interval')} epochs" if usual("selection_interval") > 1 else "epoch")
    )


def section(gathered: StudyRecords, group: Group) -> dict:
    """One group: heading, paragraph, table and figure.

    Where runs select again and again, diagnostics of their selections follow.
    """
    title = group.title
    captions_of = {
        "diagnostics": f"{title}: what is selected.",
        "classes": f"{title}: how clean the picks of each class are, epoch by epoch (first "
        "seed). Look for classes a rule fails on.",
        "picks": f"{title}: the images picked most and least often (first seed), with their "
        "given class and how often they were picked. A frame marks a false label: on the left it "
        "is what a rule keeps by mistake, on the right what it rightly drops.",
    }
    return {
        "key": group.key,
        "title": group.title,
        "slide": group.slide,
        "paragraph": paragraphs.paragraph(gathered, group),
        "table": table(gathered, group),
        "figure": {"file": f"{group.key}.svg", "caption": captions.caption(group)},
        "diagnostics": [
            {"kind": kind, "file": f"{kind}_{group.key}.svg", "caption": captions_of[kind]}
            for kind in figures.extras(gathered.study, group)
        ],
    }


def table(gathered: StudyRecords, group: Group) -> dict:
    """Columns and formatted cells; a column nobody has a value for is left out."""
    frame = group_table(gathered, group)
    frame = frame.astype(object).where(frame.notna(), None)
    noisy = any(gathered.study.specs[row.names[0]].noise != "none" for row in group.rows)
    several = len(gathered.study.seeds) > 1
    columns = [["Row", [display_label(row) for row in group.rows]]]

    def spread(mean: float, sd: float | None) -> str:
        return f"{mean:.2f}" + (f" ±{sd:.2f}" if several and sd is not None else "")

    def add(title: str, cells: list) -> None:
        if any(c is not None for c in cells):
            columns.append([title, ["" if c is None else c for c in cells]])

    def each(form, *keys: str) -> list:
        return [
            None if line[keys[0]] is None else form(*(line[k] for k in keys))
            for _, line in frame.iterrows()
        ]

    add("Slides", each(lambda v: f"{v:.2f}", "slides_best"))
    add("Slides, change", each(lambda v: with_sign(v, 1), "slides_change"))
    changes = any(v is not None for v in frame["slides_change"])
    for key, name in zip(ACCURACIES, ("Best", "Last", "Held-out")):
        add(name, each(spread, key, f"{key}_std"))
        add("Diff.", each(with_sign, f"{key}_minus_slides"))
        if changes and key == "best_top1":
            add("Change", each(with_sign, "best_change"))
    if any(v is not None for v in frame["slides_best_top5"]):
        add("Slides, top-5", each(lambda v: f"{v:.2f}", "slides_best_top5"))
        add("Best top-5", each(lambda v: f"{v:.2f}", "best_top5"))
        add("Diff.", each(with_sign, "best_top5_minus_slides"))
    if noisy:
        add("Clean picks", each(lambda v: f"{100 * v:.0f}", "label_precision"))
        add("Clean weight", each(lambda v: f"{100 * v:.0f}", "weighted_precision"))
    add("Slides, covered", each(lambda v: f"{100 * v:.0f}", "slides_covered"))
    add("Covered", each(lambda v: f"{100 * v:.0f}", "covered"))
    add("Diff.", each(lambda v: with_sign(100 * v, 0), "covered_minus_slides"))
    add("Backw.", each(lambda v: f"{100 * v:.0f}", "backwards_of_full"))
    add("Time, s", each(seconds_text, "seconds"))
    return {
        "columns": [c[0] for c in columns],
        "rows": [list(cells) for cells in zip(*(c[1] for c in columns))],
    }


def seconds_text(value: float) -> str:
    """Seconds with a digit after the point below 100."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def provenance(gathered: StudyRecords) -> list[list[str]]:
    """[what, its values over all runs, with counts where they differ]."""
    lines = []
    for key in (
        "package",
        "commit",
        "python",
        "torch",
        "numpy",
        "threads",
        "deterministic",
        "data_source",
    ):
        counts = Counter(str(r.metrics["provenance"][key]) for r in gathered.records.values())
        text = (
            next(iter(counts))
            if len(counts) == 1
            else join_with_and([f"{v} ({n} runs)" for v, n in sorted(counts.items())])
        )
        lines.append([key.replace("_", " "), text])
    lines.append(["device", join_with_and(sorted({device(r) for r in gathered.records.values()}))])
    precision = sorted({r.precision for r in gathered.records.values()})
    return [*lines, ["precision", join_with_and(precision)]]


def noise(gathered: StudyRecords) -> list[list[str]]:
    """One line per drawing of label noise.

    It is [data set, kind, rate asked, rate measured, seed, hash of the labels].
    """
    seen = {}
    for r in gathered.records.values():
        s = r.spec
        p = r.metrics["provenance"]
        # the hash tells drawings apart that agree in all else: of a subset, say
        if s.noise != "none":
            seen[s.dataset, s.noise, s.noise_rate, s.seed, p["label_hash"]] = r.metrics[
                "noise_measured"
            ]
    return [
        [DATASETS[d].title, kind, f"{rate:g}", f"{m:.4f}", str(seed), h[:16]]
        for (d, kind, rate, seed, h), m in sorted(seen.items())
    ]


def hashes(gathered: StudyRecords) -> list[list[str]]:
    """[data set, array, sha256], as verified before each run."""
    seen = {
        (DATASETS[r.spec.dataset].title, part.replace("_", " "), value)
        for r in gathered.records.values()
        for part, value in r.metrics["provenance"]["data_hashes"].items()
    }
    return [list(line) for line in sorted(seen)]


def run_list(gathered: StudyRecords) -> list[list[str]]:
    """[run name without its seed, seeds, spec hashes' first 8 digits] of every run.

    verdict_tables.details counts in this order from 1.
    """
    runs: dict[str, list] = {}
    for name, r in gathered.records.items():
        runs.setdefault(without_seed(name), []).append(r)
    return [
        [k, ", ".join(str(r.spec.seed) for r in v), ", ".join(r.spec.hash[:8] for r in v)]
        for k, v in runs.items()
    ]
