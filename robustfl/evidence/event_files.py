"""Records -> TensorBoard event files, one folder per run, with the tags of the slides' plots.

This module alone imports the package tensorboard, an optional one. Its RecordWriter frames a file,
not its EventFileWriter, which names files after time, host and process: here the same record gives
the same bytes under the same name, so that writing again doubles no point.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from robustfl.files import check_folder, locked, write_atomically
from robustfl.study.record import Record
from robustfl.study.run_names import NAMED, without_seed
from robustfl.study.run_spec import RunSpec

# Column of curves.csv -> tag. Those of acc, loss and lr are the tags of the slides' plots and of
# the code that was released later (github.com/snap-stanford/crust, robust_cifar_train.py).
TAGS = {
    "lr": "lr",
    "train_loss": "loss/train",
    "train_acc_given": "acc/train_top1",
    "train_acc_true": "acc/train_top1_true_labels",
    "test_loss": "loss/test",
    "test_top1": "acc/test_top1",
    "test_top5": "acc/test_top5",
    "heldout_acc": "acc/heldout_top1",
    "selected": "selection/selected",
    "label_precision": "selection/label_precision",
    "weighted_precision": "selection/weighted_precision",
    "label_recall": "selection/label_recall",
    "overlap": "selection/overlap",
    "covered": "selection/covered",
    "covered_ball": "selection/covered_ball",
    "objective": "selection/objective",
    "forwards": "passes/forwards",
    "backwards": "passes/backwards",
    "fit": "memorisation/fit",
    "fit_true": "memorisation/fit_true",
    "fit_false": "memorisation/fit_false",
    "gradient_error": "selection/gradient_error",
    "effective_size": "selection/effective_size",
}
BEST = "acc/test_top1_best"  # the largest acc/test_top1 up to an epoch

# TensorBoard reads a file with "tfevents" in its name; the end says whose it is
EVENTS = "events.out.tfevents.robustfl"
LOCK = ".robustfl.lock"


def write(runs: Mapping[str, Record], out: Path) -> None:
    """Write the events of each run into the folder of its key under `out`, and no others there.

    Event files of an earlier call are replaced, each whole or not at all, or removed. Raises
    ValueError for an `out` that holds anything else or can hold nothing, OSError.
    """
    check_folder(out, "--out")
    _must_be_ours(out)
    with locked(out / LOCK):
        for folder, run in runs.items():
            write_atomically(out / folder / EVENTS, event_bytes(run))
        _remove_others(out, {out / folder / EVENTS for folder in runs})


def _must_be_ours(out: Path) -> None:
    """Raise ValueError where a folder has files or links that write() did not make."""
    for path in out.rglob("*"):
        ours = path.is_dir() or path == out / LOCK or _is_events(path)
        if path.is_symlink() or not ours:
            raise ValueError(
                "--out must hold nothing but what `robustfl tensorboard` wrote there; got"
                f" {str(path)!r}"
            )


def _is_events(path: Path) -> bool:
    """Whether a file is an event file of ours, or a part of one that a killed call left."""
    partial = path.name.startswith(f".{EVENTS}.") and path.name.endswith(".partial")
    return path.name == EVENTS or partial


def _remove_others(out: Path, written: set[Path]) -> None:
    """Remove the event files that were not written now, and the folders that this empties."""
    for path in [path for path in out.rglob("*") if _is_events(path) and path not in written]:
        path.unlink()

        # up to `out` itself, which holds the lock
        folder = path.parent
        while folder != out and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent


def event_bytes(run: Record) -> bytes:
    """The event file of a run: its settings, then its curves."""
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in _events(run):
        writer.write(event.SerializeToString(deterministic=True))
    return file.getvalue()


def _events(run: Record) -> Iterator[Event]:
    """The version, the hyperparameters, then an event per epoch, whose wall time is its number."""
    yield Event(file_version="brain.Event:2")
    yield Event(summary=_hyperparameters(run))

    for epoch, values in _scalars(run):
        scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        yield Event(step=epoch, wall_time=epoch, summary=Summary(value=scalars))


def _scalars(run: Record) -> Iterator[tuple[int, dict[str, float]]]:
    """(epoch, {tag: value}) of each epoch, without the values that it does not have."""
    best: float | None = None
    for row in run.curves:
        values = {tag: row[name] for name, tag in TAGS.items() if row[name] is not None}
        if (top1 := row["test_top1"]) is not None:
            best = top1 if best is None else max(best, top1)
            values[BEST] = best
        yield int(row["epoch"]), values


def _hyperparameters(run: Record) -> Summary:
    """What the run's name says, and each field that is not at its default.

    Runs that differ in the seed alone are sessions of one trial.
    """
    default = RunSpec()
    given = {
        name: value if isinstance(value, (bool, int, float, str)) else str(value)
        for name, value in run.spec.asdict().items()
        if name in NAMED or getattr(run.spec, name) != getattr(default, name)
    }
    given.pop("seed")
    summary = hparams_pb(given, trial_id=without_seed(run.name), start_time_secs=0)

    # its bytes hold a map, whose order would be another in every process
    held = summary.value[0].metadata.plugin_data
    held.content = HParamsPluginData.FromString(held.content).SerializeToString(deterministic=True)
    return summary
