"""Records -> tables: one CSV a table of the slides (theirs, ours, the difference) and runs.csv with every run.

gather() is the only reader of a study's records. A record that is absent, broken or not the study's stops it by name,
before anything is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from robustfl.files import write_atomically
from robustfl.study import packed, record
from robustfl.study.experiments import Group, Row, Study, read_yaml
from robustfl.study.run_spec import RunSpec

GREEDY_VARIANTS = {
    "facility_location": "exact",
    "centrality": "released",
}  # the two readings of the slides' greedy
# selectors a number of the slides may be about; `random` and other baselines share labels with them, not numbers
PUBLISHED = frozenset({"full", "set_cover", *GREEDY_VARIANTS})
ACCURACIES = (
    "best_top1",
    "last_top1",
    "heldout_top1",
)  # %, test set; heldout: the epoch chosen on held-out noisy data


@dataclass(frozen=True)
class StudyRecords:
    """A study, all its records by run name, and the slides' numbers: {group: {row: {best, covered, ...}}}."""

    study: Study
    folder: Path  # {results}/{scale}
    records: dict[str, record.Record]
    slides: dict[str, dict[str, dict[str, float]]]

    def runs_of(self, row: Row) -> list[record.Record]:
        """A row's records, one a seed, in the order of study.seeds."""
        return [self.records[name] for name in row.names]

    def slide_numbers(self, group: Group, row: Row) -> dict[str, float]:
        """What the slides say of a row; empty where they say nothing of it."""
        return self.slides.get(group.key, {}).get(row.label, {}) if row.method in PUBLISHED else {}


def gather(study: Study, config: dict) -> StudyRecords:
    """Read every record of the study from {results}/{scale}, packed or not.

    Raises RecordError naming the first bad one.
    """
    folder = Path(config["results"]) / study.scale
    runs = folder / "runs"
    records = {name: packed.read(runs / name, name, spec) for name, spec in study.specs.items()}
    return StudyRecords(study, folder, records, read_yaml(study.directory / "slides.yaml"))


def display_label(row: Row) -> str:
    """A row's label with the reading of the greedy rule, where there are two: `FL only (released)`."""
    rule = GREEDY_VARIANTS.get(row.method) or (
        row.method.replace("_", " ") if row.label.rstrip("%").isdigit() else None
    )
    return f"{row.label} ({rule})" if rule else row.label


def row_of(group: Group, label: str, method: str | None = None) -> Row | None:
    """The row of that label (and selector); the only row of the label where it has no such selector."""
    rows = [r for r in group.rows if r.label == label]
    exact = [r for r in rows if r.method == method]
    return exact[0] if exact else rows[0] if len(rows) == 1 else None


def values(records: list[record.Record], key: str) -> list[float] | None:
    """A number a seed; key: of metrics.json, a column of curves.csv (last epoch), or `seconds`. None if absent."""
    got = [number(r, key) for r in records]
    return None if any(v is None for v in got) else got


def number(r: record.Record, key: str) -> float | None:
    if key == "seconds":
        return float(sum(r.metrics["seconds"].values()))
    if key in ("weighted_precision", "label_recall", "objective", "overlap", "covered_ball"):
        return r.curves[-1][key]
    return r.metrics[key]


def full_cost(spec: RunSpec, r: record.Record) -> int:
    """Backward passes of training on the whole set for as many epochs."""
    return r.metrics["provenance"]["train_points"] * spec.epochs


def mean(group_values: list[float] | None) -> float | None:
    return None if group_values is None else float(np.mean(group_values))


def _spread(group_values: list[float] | None) -> float | None:
    """Sample standard deviation over seeds; None with one seed."""
    return (
        None
        if group_values is None or len(group_values) < 2
        else float(np.std(group_values, ddof=1))
    )


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def group_table(gathered: StudyRecords, group: Group) -> pd.DataFrame:
    """One line a row of the group. Accuracies and their differences in points, shares in [0, 1], times in seconds, energy in joules.

    X is the mean over seeds, X_std their sample standard deviation, X_minus_slides the difference from the slides'
    number (their `best`, for all three accuracies), best_change the difference from the group's first row of the same
    selector.
    """
    return pd.DataFrame([_line(gathered, group, row) for row in group.rows])


def _line(gathered: StudyRecords, group: Group, row: Row) -> dict:
    records, said = gathered.runs_of(row), gathered.slide_numbers(group, row)
    line = {
        "row": row.label,
        "method": row.method,
        "seeds": len(records),
        "slides_best": said.get("best"),
    }
    for key in ACCURACIES:
        got = values(records, key)
        line |= {key: mean(got), f"{key}_std": _spread(got)}
        line[f"{key}_minus_slides"] = _minus(line[key], said.get("best"))
    top5 = values(records, "best_top5")
    line |= {
        "slides_best_top5": said.get("best_top5"),
        "best_top5": mean(top5),
        "best_top5_std": _spread(top5),
    }
    line["best_top5_minus_slides"] = _minus(line["best_top5"], said.get("best_top5"))
    first = row_of(group, group.rows[0].label, row.method)
    line["slides_change"] = said.get("best_difference")
    line["best_change"] = (
        None
        if first is None
        else line["best_top1"] - mean(values(gathered.runs_of(first), "best_top1"))
    )
    covered = values(records, "covered")
    line |= {
        "slides_covered": said.get("covered"),
        "covered": mean(covered),
        "covered_std": _spread(covered),
    }
    line["covered_minus_slides"] = _minus(line["covered"], said.get("covered"))
    line["precision"] = " ".join(sorted({r.precision for r in records}))
    line["test_images"] = " ".join(
        map(str, sorted({r.metrics["provenance"]["test_points"] for r in records}, reverse=True))
    )
    for key in ("label_precision", "weighted_precision", "forwards", "backwards"):
        line[key] = mean(values(records, key))
    line["backwards_of_full"] = line["backwards"] / full_cost(records[0].spec, records[0])
    for key in ("select", "train", "evaluate"):
        line[f"seconds_{key}"] = float(np.mean([r.metrics["seconds"][key] for r in records]))
    line["seconds"] = mean(values(records, "seconds"))
    line["energy"] = mean(values(records, "energy"))
    line["runs"] = " ".join(row.names)
    return line


def runs_table(gathered: StudyRecords) -> pd.DataFrame:
    """One line a run: its groups, spec, metrics, seconds and provenance (hashes of data sets joined by their names)."""
    lines = []
    for name, r in gathered.records.items():
        m = dict(r.metrics)
        seconds, provenance = m.pop("seconds"), dict(m.pop("provenance"))
        hashes = provenance.pop("data_hashes")
        provenance["data_hashes"] = " ".join(f"{k}={v}" for k, v in hashes.items())
        line = {
            "name": m.pop("name"),
            "groups": " ".join(g.key for g in gathered.study.groups_of(name)),
        }
        line |= {f"spec_{k}": v for k, v in r.spec.asdict().items()} | m
        line |= {f"seconds_{k}": v for k, v in seconds.items()} | provenance
        lines.append(line)
    return pd.DataFrame(lines)


def write(gathered: StudyRecords, folder: Path) -> None:
    """{group}.csv for every group, and runs.csv; each file whole or not at all."""
    tables = {key: group_table(gathered, group) for key, group in gathered.study.groups.items()}
    for key, table in (tables | {"runs": runs_table(gathered)}).items():
        write_atomically(
            folder / f"{key}.csv",
            table.to_csv(index=False, float_format="%.6g", lineterminator="\n"),
        )
