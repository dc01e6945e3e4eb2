"""A run's record on disk: written whole or not at all, refused when it is not the study's.

A run's folder holds spec.json, curves.csv (one row an epoch, the same bytes whenever the same spec is run on the same
machine), classes.csv (the same selections class by class, under label noise), picks.json (the points picked most and least
often), timings.csv (seconds, which differ) and metrics.json (final numbers and provenance), written last: where it is, the
rest is complete. docs/records.md documents every column and key.
"""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

from robustfl.spec import RunSpec

CURVES = (
    "epoch", "lr", "train_loss", "train_acc_given", "train_acc_true", "test_loss", "test_top1", "test_top5",
    "heldout_acc", "selected", "label_precision", "weighted_precision", "label_recall", "overlap", "covered",
    "covered_ball", "objective", "forwards", "backwards", "fit", "fit_true", "fit_false", "gradient_error",
    "effective_size",
)  # fmt: skip
TIMINGS = ("epoch", "select", "train", "evaluate", "energy")
CLASSES = ("epoch", "class", "selected", "label_precision", "label_recall")
PICKS = ("selections", "shape", "most", "least")
METRICS = (
    "name", "spec_hash", "best_top1", "best_top5", "best_epoch", "last_top1", "last_top5", "heldout_top1",
    "heldout_epoch", "covered", "label_precision", "forwards", "backwards", "noise_measured", "selection_hash",
    "seconds", "energy", "provenance",
)  # fmt: skip


class RecordError(RuntimeError):
    """A record is absent, broken or not of the study's spec; the message names the file and what to do."""


@dataclass(frozen=True)
class Record:
    name: str
    folder: Path
    spec: RunSpec
    metrics: dict
    curves: list[dict]  # one dict an epoch, floats; None where a column has no value
    timings: list[dict]
    classes: list[dict]  # one dict a selection and class; empty without label noise
    picks: dict


def write_text(path: Path, text: str) -> None:
    """Write, fsync, rename: a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "w", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def csv_text(columns: tuple[str, ...], rows: list[dict]) -> str:
    """CSV with 6 significant digits for floats and an empty cell for None."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = (row[c] for c in columns)
        writer.writerow("" if v is None else f"{v:.6g}" if isinstance(v, float) else v for v in values)
    return out.getvalue()


def write(
    folder: Path | str, spec: RunSpec, metrics: dict, curves: list[dict], timings: list[dict],
    classes: list[dict] = (), picks: dict | None = None,
) -> None:  # fmt: skip
    """Write a finished run. metrics.json comes last, so its presence means the record is complete."""
    folder, picks = Path(folder), picks or {"selections": 0, "shape": [], "most": [], "least": []}
    for what, keys, held in (("metrics", METRICS, metrics), ("picks", PICKS, picks)):
        if missing := set(keys) ^ set(held):
            raise RecordError(f"{what} must have exactly the documented keys; differs in {sorted(missing)}")
    write_text(folder / "spec.json", json.dumps(spec.asdict(), indent=1) + "\n")
    write_text(folder / "curves.csv", csv_text(CURVES, curves))
    write_text(folder / "classes.csv", csv_text(CLASSES, classes))
    write_text(folder / "picks.json", json.dumps(picks) + "\n")
    write_text(folder / "timings.csv", csv_text(TIMINGS, timings))
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1, allow_nan=False) + "\n")


def read(folder: Path | str, name: str, spec: RunSpec) -> Record:
    """Read a record and check that it is of this spec. Raises RecordError, with the command that mends it."""
    folder = Path(folder)
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
        held = RunSpec.from_dict(json.loads((folder / "spec.json").read_text()))
        tables = {"curves": CURVES, "timings": TIMINGS, "classes": CLASSES}
        curves, timings, classes = (_read_csv(folder / f"{name}.csv", columns) for name, columns in tables.items())
        picks = json.loads((folder / "picks.json").read_text())
        for what, keys, found in (("metrics.json", METRICS, metrics), ("picks.json", PICKS, picks)):
            if not isinstance(found, dict) or set(found) != set(keys):
                raise ValueError(f"{what} must have the keys {', '.join(keys)}")
    except FileNotFoundError as error:
        raise RecordError(f"{error.filename} must exist; run {name}, or delete what is left in {folder} and rerun it") from error
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(f"{folder}: record must be complete and readable: {error}; delete the folder and rerun") from error
    for what, value in (("metrics.json", metrics.get("spec_hash")), ("spec.json", held.hash)):
        if value != spec.hash:
            ours, theirs = spec.asdict(), held.asdict()
            differs = ", ".join(f"{k}: {theirs[k]!r} -> {ours[k]!r}" for k in ours if ours[k] != theirs[k])
            raise RecordError(
                f"{folder}: {what} must be of spec {spec.hash}, the study's; got {value} ({differs or 'hash edited'}); "
                "the record is stale: delete it or rerun it"
            )
    if [int(row["epoch"]) for row in curves] != list(range(1, spec.epochs + 1)):
        raise RecordError(f"{folder}: curves.csv must have epochs 1 to {spec.epochs}; got {len(curves)} rows; rerun it")
    return Record(name, folder, held, metrics, curves, timings, classes, picks)


def _read_csv(path: Path, columns: tuple[str, ...]) -> list[dict]:
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != columns:
            raise ValueError(f"{path.name} must have the columns {', '.join(columns)}")
        return [{k: None if v == "" else float(v) for k, v in row.items()} for row in reader]
