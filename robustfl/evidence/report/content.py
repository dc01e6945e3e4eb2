"""What the report says, as plain data: report.json.

summary.typ lays it out without computing anything.
"""

from __future__ import annotations

from collections import Counter

from robustfl.data import DATASETS
from robustfl.evidence.claims import Outcome, Verdict, floor
from robustfl.evidence.report import captions, cost, paragraphs, slide_tables, verdict_tables
from robustfl.evidence.report.wording import interval, join_with_and
from robustfl.evidence.tables import GREEDY_VARIANTS, StudyRecords
from robustfl.study.experiments import Group, open_settings
from robustfl.study.record import Record


def content(gathered: StudyRecords, judged: list[Verdict]) -> dict:
    """The whole report as JSON values."""
    study = gathered.study
    return {
        "scale": study.scale,
        "statement": study.scale_entry.statement,
        "warn": study.scale_entry.warn,
        "abstract": abstract(gathered, judged),
        "facts": facts(gathered),
        "protocols": protocols(gathered),
        "verdicts": {
            "primary": verdict_tables.primary(judged),
            "exploratory": verdict_tables.exploratory(judged),
            "facts": verdict_tables.facts(judged),
            "said": verdict_tables.sentences(judged),
        },
        "floors": floors(gathered),
        "cost": {
            "table": cost.table(gathered),
            "paragraph": cost.paragraph(gathered),
            "energy": cost.reports_energy(gathered),
        },
        "sections": [section(gathered, group) for group in study.groups.values()],
        "open": [[o.where, o.setting, o.reason] for o in open_settings(study.directory)],
        "provenance": provenance(gathered),
    }


def abstract(gathered: StudyRecords, judged: list[Verdict]) -> list[str]:
    """The question, what was run, and the answer: three sentences."""
    family = [v for v in judged if v.primary]
    seeds = len(gathered.study.seeds)
    runs = len(gathered.records)
    first = (
        "The slides report that training on weighted representatives of gradient clusters costs "
        "little accuracy, and under label noise gains some."
    )
    second = (
        f"We repeat their experiments in {runs:,} runs at the {gathered.study.scale} scale, on "
        f"{seeds} seed{'s' * (seeds != 1)}, beside a random subset of the same size."
    )
    return [first, second, answer(family)]


def answer(family: list[Verdict]) -> str:
    """What the primary comparisons come to, kind by kind, in one sentence."""

    def of(*words: Outcome) -> list[Verdict]:
        return [v for v in family if v.outcome in words]

    kinds = (
        ("holds", "hold", of(Outcome.REPRODUCED, Outcome.BY_SELECTION)),
        (
            "holds no better than with a random subset",
            "hold no better than with a random subset",
            of(Outcome.AS_RANDOM),
        ),
        ("does not hold", "do not hold", of(Outcome.NOT_REPRODUCED, Outcome.NO_DIFFERENCE)),
        ("is undecided", "are undecided", of(Outcome.UNDECIDED)),
        ("cannot be tested here", "cannot be tested here", of(Outcome.NOT_TESTABLE)),
    )
    parts = [
        f"{len(members)} {one if len(members) == 1 else several} ({_named(members)})"
        for one, several, members in kinds
        if members
    ]
    if not parts:
        return "No primary claim speaks of these groups."
    return f"Of {len(family)} primary comparisons, {join_with_and(parts)}."


def _named(verdicts: list[Verdict]) -> str:
    """The claims in a few words, each with the greedy rules that it stands under here."""
    rules: dict[str, list[str]] = {}
    for v in verdicts:
        of_claim = rules.setdefault(v.comparison.claim.short, [])
        if v.comparison.rule is not None:
            of_claim.append(GREEDY_VARIANTS[v.comparison.rule])
    return "; ".join(
        f"{short}, {join_with_and(of)}" if of else short for short, of in rules.items()
    )


def floors(gathered: StudyRecords) -> list[list[str]]:
    """[group, difference] of full training with another shuffle from full training: chance."""
    lines = []
    for key, group in gathered.study.groups.items():
        e = floor(gathered, key)
        if e is not None:
            lines.append([group.title, interval(e)])
    return lines


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
    """One group: heading, paragraph, table and figure; of_slides: whether they have numbers."""
    return {
        "key": group.key,
        "title": group.title,
        "slide": group.slide,
        "of_slides": group.key in gathered.slides,
        "paragraph": paragraphs.paragraph(gathered, group),
        "table": slide_tables.table(gathered, group),
        "figure": {"file": f"{group.key}.svg", "caption": captions.caption(gathered, group)},
    }


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
