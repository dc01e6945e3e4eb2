"""Records -> tables: one CSV per table of the slides, and runs.csv with every run.

A table has the slides' numbers, ours and the difference.
gather() is the only reader of a study's records. A record that is absent, broken or not the study's
stops it by name, before anything is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from robustfl.files import write_atomically
from robustfl.study import packed, record
from robustfl.study.experiments import Group, Row, Study, read_yaml, restricted
from robustfl.study.run_names import seed_of
from robustfl.study.run_spec import RunSpec

# the two readings of the slides' greedy
GREEDY_VARIANTS = {"facility_location": "exact", "centrality": "released"}
# selectors a number of the slides may be about; `random` and other baselines share labels with
# them, not numbers
PUBLISHED = frozenset({"full", "set_cover", *GREEDY_VARIANTS})
# %, test set
ACCURACIES = ("best_top1", "last_top1")
# columns of curves.csv that metrics.json does not repeat
LAST_OF_CURVES = (
    "weighted_precision",
    "label_recall",
    "objective",
    "overlap",
    "covered_ball",
    "fit",
    "fit_false",
)


@dataclass(frozen=True)
class StudyRecords:
    """A study, all its records by run name, and the slides' numbers.

    slides: {group: {row: {best, covered, ...}}}. whole: whether every run of the study is there;
    else the study is restricted to those that are.
    """

    study: Study
    folder: Path  # {results}/{scale}
    records: dict[str, record.Record]
    slides: dict[str, dict[str, dict[str, float]]]
    whole: bool = True

    def runs_of(self, row: Row) -> list[record.Record]:
        """A row's records, one per seed, in the order of study.seeds."""
        return [self.records[name] for name in row.names]

    def paired(self, *rows: Row) -> list[tuple[record.Record, ...]]:
        """The rows' records seed by seed, for the seeds that every one of them has a run of."""
        by_seed = [{r.spec.seed: r for r in self.runs_of(row)} for row in rows]
        seeds = sorted(set.intersection(*(set(runs) for runs in by_seed)))
        return [tuple(runs[seed] for runs in by_seed) for seed in seeds]

    def slide_numbers(self, group: Group, row: Row) -> dict[str, float]:
        """The slides' numbers of a row; empty where they have none of it."""
        if row.method not in PUBLISHED:
            return {}
        return self.slides.get(group.key, {}).get(row.label, {})


def gather(study: Study, config: dict) -> StudyRecords:
    """Read every record of the study from {results}/{scale}, packed or not.

    Raises RecordError naming the first bad one.
    """
    folder = Path(config["results"]) / study.scale
    runs = folder / "runs"
    records = {name: packed.read(runs / name, name, spec) for name, spec in study.specs.items()}
    return StudyRecords(study, folder, records, read_yaml(study.directory / "slides.yaml"))


def gather_finished(study: Study, config: dict) -> StudyRecords:
    """As gather, of the runs that have finished, with the study restricted to them.

    Raises RecordError for a record that is broken.
    """
    folder = Path(config["results"]) / study.scale
    records = {}
    for name, spec in study.specs.items():
        run = folder / "runs" / name
        if packed.find(run, spec) or (run / "metrics.json").exists():
            records[name] = packed.read(run, name, spec)
    return StudyRecords(
        study if len(records) == len(study.specs) else restricted(study, records),
        folder,
        records,
        read_yaml(study.directory / "slides.yaml"),
        whole=len(records) == len(study.specs),
    )


def seeds_found(folder: Path) -> list[int]:
    """Every seed that a record or a run's folder of {results}/{scale} is named after."""
    names = [path.stem for path in (folder / "records").glob("*.json")]
    names += [path.name for path in (folder / "runs").glob("*")]
    return sorted({seed for name in names if (seed := seed_of(name)) is not None})


def display_label(row: Row) -> str:
    """A row's label and, where the label alone does not tell, its selector: `FL only (released)`.

    A greedy variant is always named; any other selector where the group has the label under
    several.
    """
    if row.method in GREEDY_VARIANTS:
        return f"{row.label} ({GREEDY_VARIANTS[row.method]})"
    return f"{row.label} ({row.method.replace('_', ' ')})" if row.shared_label else row.label


def row_of(group: Group, label: str, method: str | None = None) -> Row | None:
    """The row of that label under that selector; without a selector, the only row of the label.

    None where there is no such row, or where several have the label and no selector is given.
    """
    rows = [r for r in group.rows if r.label == label and method in (None, r.method)]
    return rows[0] if len(rows) == 1 else None


def row_under(group: Group, label: str, method: str) -> Row | None:
    """The row of that label under a greedy rule, or the one row of it that all rules share."""
    return row_of(group, label, method) or row_of(group, label)


def values(records: list[record.Record], key: str) -> list[float] | None:
    """One number per seed; None where a record lacks it.

    key: of metrics.json, a column of curves.csv (its last epoch), or `seconds`.
    """
    numbers = [n for r in records if (n := number(r, key)) is not None]
    return numbers if len(numbers) == len(records) else None


def number(r: record.Record, key: str) -> float | None:
    """A number of one run, None where it has none; key as in values()."""
    if key == "seconds":
        return float(sum(r.metrics["seconds"].values()))
    if key in LAST_OF_CURVES:
        return r.curves[-1][key]
    return r.metrics[key]


def full_cost(spec: RunSpec, r: record.Record) -> int:
    """Backward passes of training on the whole set for as many epochs."""
    return r.metrics["provenance"]["train_points"] * spec.epochs


def mean(numbers: list[float] | None) -> float | None:
    """Mean over seeds; None of None."""
    return None if numbers is None else float(np.mean(numbers))


def _spread(numbers: list[float] | None) -> float | None:
    """Sample standard deviation over seeds; None with one seed."""
    if numbers is None or len(numbers) < 2:
        return None
    return float(np.std(numbers, ddof=1))


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def group_table(gathered: StudyRecords, group: Group) -> pd.DataFrame:
    """One line per row of the group.

    Accuracies and their differences in points, shares in [0, 1], times in seconds, energy in
    joules. X is the mean over seeds, X_std their sample standard deviation, X_minus_slides the
    difference from the slides' number (their `best`, for all three accuracies), best_change the
    difference from the group's first row of the same selector.
    """
    return pd.DataFrame([_line(gathered, group, row) for row in group.rows])


def _line(gathered: StudyRecords, group: Group, row: Row) -> dict[str, Any]:
    records = gathered.runs_of(row)
    published = gathered.slide_numbers(group, row)
    line: dict[str, Any] = {"row": row.label, "method": row.method, "seeds": len(records)}

    # accuracies beside the slides'
    best = published.get("best")
    line["slides_best"] = best
    for key in ACCURACIES:
        line |= _beside_slides(records, key, best)
    top5 = published.get("best_top5")
    line |= {"slides_best_top5": top5} | _beside_slides(records, "best_top5", top5)
    first = row_under(group, group.rows[0].label, row.method)
    first_best = None if first is None else mean(values(gathered.runs_of(first), "best_top1"))
    line["slides_change"] = published.get("best_difference")
    line["best_change"] = _minus(line["best_top1"], first_best)
    covered = published.get("covered")
    line |= {"slides_covered": covered} | _beside_slides(records, "covered", covered)

    # what the runs of a row may not have in common
    sizes = sorted({r.metrics["provenance"]["test_points"] for r in records}, reverse=True)
    line["precision"] = " ".join(sorted({r.precision for r in records}))
    line["test_images"] = " ".join(map(str, sizes))

    # quality of the selection and cost
    for key in ("label_precision", "weighted_precision", "forwards", "backwards"):
        line[key] = mean(values(records, key))
    line["backwards_of_full"] = line["backwards"] / full_cost(records[0].spec, records[0])
    for part in ("select", "train", "evaluate"):
        line[f"seconds_{part}"] = float(np.mean([r.metrics["seconds"][part] for r in records]))
    line["seconds"] = mean(values(records, "seconds"))
    line["energy"] = mean(values(records, "energy"))
    line["runs"] = " ".join(row.names)
    return line


def _beside_slides(
    records: list[record.Record], key: str, published: float | None
) -> dict[str, float | None]:
    """Mean, standard deviation and difference from the slides of one number."""
    numbers = values(records, key)
    return {
        key: mean(numbers),
        f"{key}_std": _spread(numbers),
        f"{key}_minus_slides": _minus(mean(numbers), published),
    }


def runs_table(gathered: StudyRecords) -> pd.DataFrame:
    """One line per run: its groups, spec, metrics, seconds and provenance.

    The hashes of the data sets stand in one cell, each behind its name.
    """
    lines = []
    for name, r in gathered.records.items():
        m = dict(r.metrics)

        # nested values become columns of their own, named after where they come from
        seconds = m.pop("seconds")
        provenance = dict(m.pop("provenance"))
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
    # all tables are made before the first is written: an error leaves the old ones together
    tables = {key: group_table(gathered, group) for key, group in gathered.study.groups.items()}
    for key, table in (tables | {"runs": runs_table(gathered)}).items():
        write_atomically(
            folder / f"{key}.csv",
            table.to_csv(index=False, float_format="%.6g", lineterminator="\n"),
        )
