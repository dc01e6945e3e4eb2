"""A run's record on disk: written whole or not at all, refused when it is not the study's.

A run's folder holds six files:
  spec.json     every field of the run
  curves.csv    one row per epoch, the same bytes whenever a machine runs the same spec again
  classes.csv   the same selections class by class, under label noise
  picks.json    the points picked most and least often
  timings.csv   seconds, which differ
  metrics.json  final numbers and provenance, written last: where it is, the rest is complete
docs/records.md documents every column and key. robustfl.study.packed holds the six files in one.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robustfl.files import write_atomically
from robustfl.study.curve_row import CurveRow as CurveRow
from robustfl.study.curve_row import columns
from robustfl.study.run_spec import RunSpec, defaults

CURVES = tuple(columns())
TIMINGS = ("epoch", "select", "train", "evaluate", "energy")
CLASSES = ("epoch", "class", "selected", "label_precision", "label_recall")
PICKS = ("selections", "shape", "most", "least")
METRICS = (
    "name",
    "spec_hash",
    "best_top1",
    "best_top5",
    "best_epoch",
    "last_top1",
    "last_top5",
    "heldout_top1",
    "heldout_epoch",
    "covered",
    "label_precision",
    "forwards",
    "backwards",
    "noise_measured",
    "selection_hash",
    "seconds",
    "energy",
    "provenance",
)
# Names above that came later: a record made before one reads as None there.
ADDED = frozenset(name for name, column in columns().items() if column.added)
FILES = (  # in the order written
    "spec.json",
    "curves.csv",
    "classes.csv",
    "picks.json",
    "timings.csv",
    "metrics.json",
)


class RecordError(RuntimeError):
    """A record is absent, broken or not of the study's spec.

    The message names the file and what to do.
    """


@dataclass(frozen=True)
class Record:
    name: str
    file: Path  # metrics.json of its folder, or the packed file
    spec: RunSpec
    metrics: dict
    curves: list[dict]  # one per epoch, floats by CurveRow's names; None where it has no value
    timings: list[dict]
    classes: list[dict]  # one per selection and class; empty without label noise
    picks: dict

    @property
    def precision(self) -> str:
        """fp32 or bf16: what the run trained in, also where its spec says auto."""
        return self.metrics["provenance"].get("precision") or self.spec.precision


def csv_text(names: tuple[str, ...], rows: Sequence[dict]) -> str:
    """CSV with 6 significant digits for floats and an empty cell for None."""
    # "\n" on every machine: the same run must give the same bytes
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = (row[name] for name in names)
        writer.writerow(
            "" if v is None else f"{v:.6g}" if isinstance(v, float) else v for v in values
        )
    return out.getvalue()


def write(
    folder: Path | str,
    spec: RunSpec,
    metrics: dict,
    curves: list[dict],
    timings: list[dict],
    classes: Sequence[dict] = (),
    picks: dict | None = None,
) -> None:
    """Write a finished run; metrics.json comes last, so that where it is the rest is.

    Raises RecordError for metrics or picks that have other keys than the documented ones, OSError.
    """
    picks = picks or {"selections": 0, "shape": [], "most": [], "least": []}
    for what, keys, values in (("metrics", METRICS, metrics), ("picks", PICKS, picks)):
        if differing := set(keys) ^ set(values):
            raise RecordError(
                f"{what} must have exactly the documented keys; differs in {sorted(differing)}"
            )

    write_files(
        Path(folder),
        {
            "spec.json": json.dumps(spec.asdict(), indent=1) + "\n",
            "curves.csv": csv_text(CURVES, curves),
            "classes.csv": csv_text(CLASSES, classes),
            "picks.json": json.dumps(picks) + "\n",
            "timings.csv": csv_text(TIMINGS, timings),
            "metrics.json": json.dumps(metrics, indent=1, allow_nan=False) + "\n",
        },
    )


def write_files(folder: Path, texts: dict[str, str]) -> None:
    """Write the texts of the six files, metrics.json last."""
    for name in FILES:
        write_atomically(folder / name, texts[name])


def read(folder: Path | str, name: str, spec: RunSpec | None = None) -> Record:
    """Read a record from its folder and check that it is of this spec (None = of its own).

    Raises RecordError, with the command that mends it.
    """
    return parse(read_files(folder, name), Path(folder) / "metrics.json", name, spec)


def read_files(folder: Path | str, name: str) -> dict[str, str]:
    """The texts of a folder's six files, as they are.

    Raises RecordError naming what is absent or unreadable.
    """
    try:
        # metrics.json first: it is what an unfinished run lacks
        return {file: (Path(folder) / file).read_bytes().decode() for file in reversed(FILES)}
    except FileNotFoundError as error:
        raise RecordError(
            f"{error.filename} must exist; run {name}, or delete what is left in {folder} "
            "and rerun it"
        ) from error
    except (OSError, ValueError) as error:
        raise RecordError(
            f"{folder}: record must be readable: {error}; delete the folder and rerun"
        ) from error


def parse(texts: dict[str, str], file: Path, name: str, spec: RunSpec | None = None) -> Record:
    """The record that six files hold, checked to be of a spec's run (None = its own).

    file: Record.file. What counts as one run: see `RunSpec.accepts`. Raises RecordError naming the
    packed file or the folder.
    """
    where = file.parent if file.name == "metrics.json" else file
    try:
        metrics = _keys(texts, "metrics.json", METRICS)
        recorded = RunSpec.from_dict(json.loads(texts["spec.json"]))
        curves = _rows(texts, "curves.csv", CURVES)
        timings = _rows(texts, "timings.csv", TIMINGS)
        classes = _rows(texts, "classes.csv", CLASSES)
        picks = _keys(texts, "picks.json", PICKS)
    except (ValueError, TypeError, csv.Error) as error:
        raise RecordError(
            f"{where}: record must be complete and readable: {error}; delete it and rerun"
        ) from error

    # a CSV file that is cut at the end of a line still reads well, so its epochs are counted
    spec = spec or recorded
    _must_belong(recorded, metrics["spec_hash"], spec, where)
    if [row["epoch"] for row in curves] != list(range(1, spec.epochs + 1)):
        raise RecordError(
            f"{where}: curves.csv must have epochs 1 to {spec.epochs}; got {len(curves)} rows; "
            "rerun it"
        )
    return Record(name, file, recorded, metrics, curves, timings, classes, picks)


def _must_belong(recorded: RunSpec, spec_hash: str, spec: RunSpec, where: Path) -> None:
    """Raise RecordError where a record's spec is not the one asked for, naming what differs."""
    if spec_hash != recorded.hash:
        raise RecordError(
            f"{where}: metrics.json must be of spec {recorded.hash}, that of spec.json;"
            f" got {spec_hash}; the record is stale: delete it or rerun it"
        )
    if not spec.accepts(recorded):
        # fields that only say how it is measured may differ
        ours = spec.asdict()
        theirs = recorded.asdict()
        differs = ", ".join(
            f"{k}: {theirs[k]!r} -> {ours[k]!r}"
            for k in ours
            if ours[k] != theirs[k] and k not in defaults("measurement")
        )
        raise RecordError(
            f"{where}: spec.json must be of spec {spec.hash}; got {recorded.hash} ({differs});"
            " the record is stale: delete it or rerun it"
        )


def _keys(texts: dict[str, str], file: str, keys: tuple[str, ...]) -> dict:
    """A JSON file with exactly these keys; those of ADDED it lacks are None. Raises ValueError."""
    values = json.loads(texts[file])
    if not isinstance(values, dict) or not set(keys) - ADDED <= set(values) <= set(keys):
        raise ValueError(f"{file} must have the keys {', '.join(keys)}")
    return dict.fromkeys(k for k in keys if k not in values) | values


def _rows(texts: dict[str, str], file: str, names: tuple[str, ...]) -> list[dict]:
    """A CSV file's rows in exactly these columns; those of ADDED it lacks are None.

    Raises ValueError.
    """
    # columns may be absent, but only the later ones, and never in another order
    reader = csv.DictReader(io.StringIO(texts[file], newline=""))
    present = tuple(reader.fieldnames or ())
    if present != tuple(name for name in names if name in present or name not in ADDED):
        raise ValueError(f"{file} must have the columns {', '.join(names)}")
    absent = dict.fromkeys(name for name in names if name not in present)
    return [{k: None if v == "" else float(v) for k, v in row.items()} | absent for row in reader]
