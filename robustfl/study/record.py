"""A run's record on disk: written whole or not at all, refused when it is not the study's.

A run's folder holds spec.json, curves.csv (one row an epoch, the same bytes whenever the same spec is run on the same
machine), classes.csv (the same selections class by class, under label noise), picks.json (the points picked most and least
often), timings.csv (seconds, which differ) and metrics.json (final numbers and provenance), written last: where it is, the
rest is complete. docs/records.md documents every column and key. robustfl.packed holds the same six files in one.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from robustfl.files import write_atomically
from robustfl.study.run_spec import MEASURED, RunSpec

CURVES = (
    "epoch",
    "lr",
    "train_loss",
    "train_acc_given",
    "train_acc_true",
    "test_loss",
    "test_top1",
    "test_top5",
    "heldout_acc",
    "selected",
    "label_precision",
    "weighted_precision",
    "label_recall",
    "overlap",
    "covered",
    "covered_ball",
    "objective",
    "forwards",
    "backwards",
    "fit",
    "fit_true",
    "fit_false",
    "gradient_error",
    "effective_size",
)
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
ADDED = frozenset({"fit", "fit_true", "fit_false", "gradient_error", "effective_size"})
FILES = (  # in the order written
    "spec.json",
    "curves.csv",
    "classes.csv",
    "picks.json",
    "timings.csv",
    "metrics.json",
)


class RecordError(RuntimeError):
    """A record is absent, broken or not of the study's spec; the message names the file and what to do."""


@dataclass(frozen=True)
class Record:
    name: str
    file: Path  # metrics.json of its folder, or the packed file
    spec: RunSpec
    metrics: dict
    curves: list[dict]  # one dict an epoch, floats; None where a column has no value
    timings: list[dict]
    classes: list[dict]  # one dict a selection and class; empty without label noise
    picks: dict

    @property
    def precision(self) -> str:
        """fp32 or bf16: what the run trained in, also where its spec says auto."""
        return self.metrics["provenance"].get("precision") or self.spec.precision


def csv_text(columns: tuple[str, ...], rows: list[dict]) -> str:
    """CSV with 6 significant digits for floats and an empty cell for None."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = (row[c] for c in columns)
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
    classes: list[dict] = (),
    picks: dict | None = None,
) -> None:
    """Write a finished run. metrics.json comes last, so its presence means the record is complete."""
    folder, picks = Path(folder), picks or {"selections": 0, "shape": [], "most": [], "least": []}
    for what, keys, held in (("metrics", METRICS, metrics), ("picks", PICKS, picks)):
        if missing := set(keys) ^ set(held):
            raise RecordError(
                f"{what} must have exactly the documented keys; differs in {sorted(missing)}"
            )
    write_files(
        folder,
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
    """The record that six files hold, checked to be of a spec's run (None = its own), see `RunSpec.accepts`.

    file: Record.file. Raises RecordError naming the packed file or the folder.
    """
    where = file.parent if file.name == "metrics.json" else file
    try:
        metrics = _keys(texts, "metrics.json", METRICS)
        held = RunSpec.from_dict(json.loads(texts["spec.json"]))
        tables = {"curves.csv": CURVES, "timings.csv": TIMINGS, "classes.csv": CLASSES}
        curves, timings, classes = (_rows(texts, *table) for table in tables.items())
        picks = _keys(texts, "picks.json", PICKS)
    except (ValueError, TypeError, csv.Error) as error:
        raise RecordError(
            f"{where}: record must be complete and readable: {error}; delete it and rerun"
        ) from error

    spec = spec or held
    if metrics["spec_hash"] != held.hash:
        raise RecordError(
            f"{where}: metrics.json must be of spec {held.hash}, that of spec.json; got {metrics['spec_hash']}; "
            "the record is stale: delete it or rerun it"
        )
    if not spec.accepts(held):
        ours, theirs = spec.asdict(), held.asdict()
        differs = ", ".join(
            f"{k}: {theirs[k]!r} -> {ours[k]!r}"
            for k in ours
            if ours[k] != theirs[k] and k not in MEASURED
        )
        raise RecordError(
            f"{where}: spec.json must be of spec {spec.hash}; got {held.hash} ({differs}); the record is stale: "
            "delete it or rerun it"
        )
    if [row["epoch"] for row in curves] != list(range(1, spec.epochs + 1)):
        raise RecordError(
            f"{where}: curves.csv must have epochs 1 to {spec.epochs}; got {len(curves)} rows; "
            "rerun it"
        )
    return Record(name, file, held, metrics, curves, timings, classes, picks)


def _keys(texts: dict[str, str], file: str, keys: tuple[str, ...]) -> dict:
    """A JSON file with exactly these keys; those of ADDED it lacks are None. Raises ValueError."""
    found = json.loads(texts[file])
    if not isinstance(found, dict) or not set(keys) - ADDED <= set(found) <= set(keys):
        raise ValueError(f"{file} must have the keys {', '.join(keys)}")
    return dict.fromkeys(k for k in keys if k not in found) | found


def _rows(texts: dict[str, str], file: str, columns: tuple[str, ...]) -> list[dict]:
    """A CSV file's rows in exactly these columns; those of ADDED it lacks are None.

    Raises ValueError.
    """
    reader = csv.DictReader(io.StringIO(texts[file], newline=""))
    found = tuple(reader.fieldnames or ())
    if found != tuple(c for c in columns if c in found or c not in ADDED):
        raise ValueError(f"{file} must have the columns {', '.join(columns)}")
    absent = dict.fromkeys(c for c in columns if c not in found)
    return [{k: None if v == "" else float(v) for k, v in row.items()} | absent for row in reader]
