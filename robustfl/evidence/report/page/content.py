"""What the page shows: texts for its template, and the numbers that its scripts draw.

Everything comes from report.json, the verdicts and the records; the scripts compute no statistic.
"""

from __future__ import annotations

import base64
import io
import math
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from robustfl.data import DATASETS
from robustfl.evidence import claims, figures
from robustfl.evidence.claims import Outcome, Verdict
from robustfl.evidence.claims.measures import MEASURES
from robustfl.evidence.figures import picked_images
from robustfl.evidence.report import verdict_tables
from robustfl.evidence.report.wording import with_sign
from robustfl.evidence.tables import StudyRecords, display_label
from robustfl.study.curve_row import columns
from robustfl.study.experiments import Row
from robustfl.study.record import Record

DIGITS = 4  # significant ones of a curve; the records have six
NO_CURVES = ("epoch", "lr", "selected", "forwards", "backwards")  # columns that say what was done
FIRST_SHOWN = (
    "test_top1",
    "train_acc_given",
    "fit_false",
)  # curves that are drawn before anybody chooses
FAMILY_OF_FACTS = "fact"


def shown(gathered: StudyRecords, judged: list[Verdict], out: Path) -> dict[str, Any]:
    """What the template reads beside report.json. Links lead from `out`'s folder.

    Raises OSError for a figure that is not there.
    """
    lines = verdict_lines(judged)
    return {
        "lines": lines,
        "filters": filters(lines),
        "drawings": {key: drawing(gathered, key) for key in gathered.study.groups},
        "links": {
            name: _link(gathered.folder / "tables" / name, out)
            for name in ("verdicts.csv", "runs.csv", "report.json")
        },
        "has_ladder": bool(ladder_of(gathered)),
    }


def drawn(gathered: StudyRecords, judged: list[Verdict], out: Path) -> dict[str, Any]:
    """What the scripts read. Runs are named by their place in `runs`."""
    at = {name: i for i, name in enumerate(gathered.records)}
    return {
        "forest": [forest_point(v) for v in judged if v.primary],
        "ladder": ladder_of(gathered),
        "verdicts": [[row_of_runs(gathered, row, at) for row in v.comparison.rows] for v in judged],
        "runs": [run(r, out) for r in gathered.records.values()],
        "groups": [
            {
                "title": group.title,
                "rows": [row_of_runs(gathered, row, at) for row in group.rows],
                "pictures": pictures(gathered, key, at),
            }
            for key, group in gathered.study.groups.items()
        ],
        "measures": measures(gathered),
        "curves": [curves(r) for r in gathered.records.values()],
    }


def _link(path: Path, out: Path) -> str:
    return Path(os.path.relpath(path, out.parent)).as_posix()


# verdicts


def verdict_lines(judged: list[Verdict]) -> list[dict]:
    """One line per verdict, in the order of verdicts.csv: its cells as words."""
    frame = verdict_tables.frame(judged)
    lines = []
    for v, cells in zip(judged, frame.to_dict("records")):
        lines.append(
            {
                "key": cells["claim"],
                "says": cells["says"],
                "slide": cells["slide"],
                "family": FAMILY_OF_FACTS if v.comparison.claim.fact else cells["family"],
                "comparison": cells["comparison"],
                "rule": cells["rule"] or "any",
                "measure": MEASURES[v.measure].name,
                "equal": verdict_tables.EQUAL[v.budget],
                "slides": verdict_tables.number(v.comparison, v.measure, claims.slides_value(v)),
                "ours": verdict_tables.spread(v),
                "over_random": verdict_tables.over_random(v),
                "outcome": v.outcome.value,
                "mark": verdict_tables.mark(v.outcome),
                "size": v.size.value if v.size and v.outcome.holds else "",
                "reason": v.reason,
                "p": "" if v.p is None else f"{v.p:.2g}",
                "p_holm": "" if v.p_holm is None else f"{v.p_holm:.2g}",
                "found": verdict_tables.found(v),
                "seeds": v.estimate.seeds if v.estimate else "",
                # the number that the column sorts by
                "value": _number(v.estimate.mean) if v.estimate else None,
            }
        )
    return lines


def filters(lines: list[dict]) -> dict[str, list[str]]:
    """What each filter of the verdicts offers, in the order of the lines; outcomes as the enum."""
    columns_ = {"claim": "says", "family": "family", "rule": "rule", "measure": "measure"}
    offered = {
        name: list(dict.fromkeys(line[key] for line in lines)) for name, key in columns_.items()
    }
    outcomes = {line["outcome"] for line in lines}
    return offered | {"outcome": [word.value for word in Outcome if word.value in outcomes]}


def forest_point(v: Verdict) -> dict:
    """One line of the forest plot, points of accuracy; text: what stands beside it on hover."""
    e, c = v.estimate, v.comparison
    low, high = (e.low, e.high) if e else (None, None)

    # both differences are of the same seeds, so random's own is what is left between them
    same_seeds = e is not None and v.random is not None and e.seeds == v.random.seeds
    words = [c.part, f"ours {verdict_tables.spread(v)}"]
    if c.published is not None:
        words.append(f"slides {verdict_tables.number(c, v.measure, claims.slides_value(v))}")
    if v.random is not None:
        words.append(f"over random {verdict_tables.over_random(v)}")
    return {
        "says": c.claim.says,
        "rule": verdict_tables.GREEDY_VARIANTS[c.rule] if c.rule else "",
        "value": _number(e.mean) if e else None,
        "low": _number(low),
        "high": _number(high),
        "slides": _number(c.published),
        "random": _number(e.mean - v.random.mean) if same_seeds and e and v.random else None,
        "bounds": [b for b in c.claim.bounds if math.isfinite(b) and b != 0],
        "testable": v.outcome is not Outcome.NOT_TESTABLE,
        "text": "\n".join([*words, verdict_tables.outcome(v)]),
    }


def ladder_of(gathered: StudyRecords) -> list[dict]:
    """The ladder, which lies beside the scale; a scale that warns speaks of itself alone."""
    path = gathered.folder.parent / "ladder" / "ladder.csv"
    return [] if gathered.study.scale_entry.warn else ladder_points(path)


def ladder_points(path: Path) -> list[dict]:
    """The lines of ladder.csv, each with its words; none where the ladder has not been made."""
    if not path.exists():
        return []
    frame = pd.read_csv(path)
    points = frame.astype(object).where(frame.notna(), None).to_dict("records")
    for point in points:
        spread = "one seed"
        if point["low"] is not None:
            spread = f"{with_sign(point['low'])} to {with_sign(point['high'])}"
        difference = with_sign(point["difference"])
        point["text"] = f"{point['row']}\n{point['images']:,} images: {difference} ({spread})"
    return points


# runs


def row_of_runs(gathered: StudyRecords, row: Row, at: dict[str, int]) -> dict:
    """A row's name and group, and its runs by their place in the list of all."""
    group = next(g for g in gathered.study.groups.values() if row in g.rows)
    return {
        "label": display_label(row),
        "group": group.title,
        "runs": [at[name] for name in row.names],
    }


def run(r: Record, out: Path) -> dict:
    """A run as the page lists it; file: the way to its record."""
    m = r.metrics
    return {
        "name": r.name,
        "seed": r.spec.seed,
        "best": f"{m['best_top1']:.2f}",
        "last": f"{m['last_top1']:.2f}",
        "file": _link(r.file, out),
    }


def measures(gathered: StudyRecords) -> list[dict]:
    """The columns of curves.csv that some run has a value of, with unit and meaning."""
    drawn = {
        name: column
        for name, column in columns().items()
        if name not in NO_CURVES
        and any(e[name] is not None for r in gathered.records.values() for e in r.curves)
    }
    return [
        {
            "key": name,
            "unit": column.unit,
            "meaning": column.meaning.replace("`", ""),
            "shown": name in FIRST_SHOWN,
        }
        for name, column in drawn.items()
    ]


def curves(r: Record) -> dict[str, list[float | None]]:
    """A run's columns over its epochs, which are counted from 1; those without a value left out."""
    found = {}
    for name in columns():
        values = [_number(e[name]) for e in r.curves]
        if name not in NO_CURVES and any(v is not None for v in values):
            found[name] = values
    return found


def _number(value: float | None) -> float | None:
    """A finite number as short as the page needs it."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() else short


# images


def drawing(gathered: StudyRecords, key: str) -> str:
    """The figure of a group as a data URI. Raises OSError where it has not been drawn."""
    svg = (gathered.folder / "figures" / f"{key}.svg").read_bytes()
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def pictures(gathered: StudyRecords, key: str, at: dict[str, int]) -> list[dict]:
    """Per row that selects again and again under noise: its images picked most and least often.

    They are of the row's first seed.
    """
    group = gathered.study.groups[key]
    if not figures.noisy(gathered.study, group):
        return []
    names = DATASETS[group.dataset].classes
    return [
        {
            "label": display_label(row),
            "run": at[r.name],
            "selections": r.picks["selections"],
            "most": [picture(p, r.picks["shape"], names) for p in r.picks["most"]],
            "least": [picture(p, r.picks["shape"], names) for p in r.picks["least"]],
        }
        for row, r in picked_images.chosen(gathered, group)
    ]


def picture(point: dict, shape: list[int], names: tuple[str, ...]) -> dict:
    """One image as a PNG, with how often it was picked and what its label is and should be."""
    raw = zlib.decompress(base64.b64decode(point["pixels"]))
    pixels = np.frombuffer(raw, np.uint8).reshape(shape).squeeze()  # (H, W, C) or (H, W)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "png", optimize=True)
    return {
        "png": base64.b64encode(png.getvalue()).decode(),
        "count": point["count"],
        "given": names[point["given"]],
        "true": names[point["true"]],
    }
