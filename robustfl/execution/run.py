"""One run, from spec to record: data, noise, model, selection and training meet here alone."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import robustfl
from robustfl import cuda, data
from robustfl.execution import checkpoint, provenance
from robustfl.execution.preparation import Options, in_precision, new_model, pick_device, prepare
from robustfl.files import check_folder, locked
from robustfl.selection import SELECTORS
from robustfl.study import record
from robustfl.study.run_spec import RunSpec
from robustfl.training import energy_meter, resnet
from robustfl.training.data import Data
from robustfl.training.epoch_selector import EpochSelector, Pretrained
from robustfl.training.loop import Progress, TrainingError, train_epochs
from robustfl.training.steps.cuda_graph import GraphSteps
from robustfl.training.steps.eager import EagerSteps
from robustfl.training.steps.raw_clusters import RawClusterSteps
from robustfl.training.steps.reweight import ReweightSteps

# A new way to train an epoch = one file and one line here (and its name in run_spec.UPDATE_RULES).
UPDATE_RULES = {
    "plain": EagerSteps,
    "reweight": ReweightSteps,
    "raw_clusters": RawClusterSteps,
}

Watch = Callable[[Progress], object]  # called after each epoch


class Interrupted(BaseException):
    """Raised into a run by a signal handler: the run saves its last finished epoch and ends."""


def run_to_record(
    spec: RunSpec,
    out: Path | str,
    name: str,
    options: Options,
    watch: Watch = lambda progress: None,
) -> dict:
    """Train `spec` and write its record into `out`; returns the metrics.

    A complete record of this spec is kept as it is. watch(progress) is called after each epoch.
    Raises TrainingError, data.DataError, record.RecordError, OSError; none of them leaves a
    metrics.json.
    """
    out = Path(out)
    check(spec, options)
    # what is complete is read without a lock, from a folder that may be read-only
    complete = _complete(spec, out, name, options)
    if complete is not None:
        return complete

    # a folder that cannot be written is found out now, not after hours of training
    check_folder(out, "out")
    with locked(out / ".lock"):
        # it may have been completed while this call waited for the lock
        complete = _complete(spec, out, name, options)
        if complete is not None:
            return complete

        begin = provenance.now()
        fitted = train_or_resume(spec, out / "checkpoint.ckpt", options, watch)
        metrics = summarise(name, spec, fitted, begin)

        # the model comes before the record: a complete record is never trained again
        if spec == spec.pretraining():
            _keep_model(spec, fitted, options)
        done = fitted.progress
        record.write(
            out, spec, metrics, done.curves, done.timings, done.classes, fitted.selector.picks()
        )
        checkpoint.remove(out / "checkpoint.ckpt")
        return metrics


def _complete(spec: RunSpec, out: Path, name: str, options: Options) -> dict | None:
    """The metrics of a record that is there. Raises RecordError where it is broken or stale."""
    if not (out / "metrics.json").exists():
        return None
    complete = record.read(out, name, spec)
    options.log(f"{name}: complete already; delete {out / 'metrics.json'} to train again")
    return complete.metrics


@dataclass(frozen=True)
class Fitted:
    """A trained run: what the record and a pretrained selection are made from."""

    model: nn.Module
    steps: EagerSteps
    selector: EpochSelector
    progress: Progress
    origin: dict  # what provenance stores of the data and the precision
    device: torch.device

    def pretrained_state(self) -> dict:
        """Weights and forgetting events of a run that counted them, a spec.pretraining().

        On the CPU, since the run's own stream is another run's by now.
        """
        assert self.steps.forgetting is not None
        scores = self.steps.forgetting.scores(most=self.progress.epoch + 1)
        return {
            "model": {name: value.cpu() for name, value in self.model.state_dict().items()},
            "forgetting": scores.cpu(),
        }


def check(spec: RunSpec, options: Options) -> None:
    """Check names and the cache before creating or training anything. Raises ValueError.

    The cache may be read-only: what a run has to write there, it writes before it trains.
    """
    pick_device(options.device)
    registries: dict[str, Collection[str]] = {
        "dataset": data.DATASETS,
        "model": resnet.MODELS,
        "method": SELECTORS,
    }
    for field, allowed in registries.items():
        value = getattr(spec, field)
        if value not in allowed:
            raise ValueError(f"{field} must be one of {', '.join(allowed)}; got {value!r}")

    cache = Path(options.cache)
    if cache.exists() and not cache.is_dir():
        check_folder(cache, "cache")  # which says what is wrong with it


def train_or_resume(
    spec: RunSpec, saved: Path, options: Options, watch: Watch = lambda progress: None
) -> Fitted:
    """Train a spec, going on from the last good checkpoint at `saved` where there is one."""
    device = pick_device(options.device)
    with cuda.exclusive_stream(device):
        return _train_or_resume(spec, saved, options, watch, device)


def _train_or_resume(
    spec: RunSpec, saved: Path, options: Options, watch: Watch, device: torch.device
) -> Fitted:
    prepared, origin = prepare(spec, options, device)
    state = checkpoint.last_good(saved, spec.hash, options.log)
    begun = state.get("precision") if state is not None else None
    resolved, precision = in_precision(spec, device, options, begun)

    # what trains, and what it trains on
    pretrained = pretrained_run(spec, options, device) if spec.pretrained else None
    if spec.update_rule == "raw_clusters" and pretrained is not None:
        model = pretrained.model
    else:
        model = new_model(spec, device)
    selector = EpochSelector(resolved, prepared, pretrained)
    steps = _steps(spec, resolved, model, prepared, options, device)

    # where it stands, and who keeps it
    keeper = _Keeper(spec, saved, options, resolved.precision, model, steps, selector)
    progress = keeper.resume(state)

    def on_epoch(now: Progress) -> None:
        keeper.keep(now)
        watch(now)

    with _ended(keeper, progress, steps, device):
        train_epochs(
            model,
            prepared,
            resolved,
            select=selector,
            observe=selector.observe,
            steps=steps,
            progress=progress,
            on_epoch=on_epoch,
            meter=energy_meter.meter(device),
        )
    return Fitted(model, steps, selector, progress, origin | precision, device)


@contextmanager
def _ended(
    keeper: _Keeper, progress: Progress, steps: EagerSteps, device: torch.device
) -> Iterator[None]:
    """However training ends: an interrupted run is saved, and the steps are closed.

    Raises TrainingError where the device's memory did not hold the run.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"device memory must hold the run; {device} ran out: {error}"
        ) from error
    except (KeyboardInterrupt, Interrupted):
        keeper.interrupted(progress)
        raise
    finally:
        steps.close()


def _steps(
    spec: RunSpec,
    resolved: RunSpec,
    model: nn.Module,
    prepared: Data,
    options: Options,
    device: torch.device,
) -> EagerSteps:
    """The steps of an epoch: recorded ones on a GPU, for what a graph can hold."""
    graphs = device.type == "cuda" and options.graphs and spec.update_rule == "plain"
    kind = GraphSteps if graphs else UPDATE_RULES[spec.update_rule]
    return kind(model, prepared, resolved, track=spec == spec.pretraining())


class _Keeper:
    """Keeps a snapshot of the run after every epoch, and puts it on the disk when that is due.

    The keys of its state are those of every checkpoint so far: a renamed one is lost to a resume.
    """

    def __init__(
        self,
        spec: RunSpec,
        path: Path,
        options: Options,
        precision: str,
        model: nn.Module,
        steps: EagerSteps,
        selector: EpochSelector,
    ) -> None:
        self.spec = spec
        self.path = path
        self.options = options
        self.precision = precision
        self.parts: dict[str, Any] = {"model": model, "steps": steps, "chooser": selector}
        self.snapshot = b""  # empty when the disk has it
        self.saved_at = time.monotonic()

    def resume(self, state: dict | None) -> Progress:
        """Put a checkpoint's state into the parts; its progress, or that of a run not yet begun."""
        if state is None:
            return Progress()
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        progress = Progress(**state["progress"])
        self.options.log(f"going on after epoch {progress.epoch} of {self.spec.epochs}")
        return progress

    def keep(self, progress: Progress) -> None:
        """Take the snapshot of the epoch that has ended; save it every so many epochs or seconds.

        The last epoch is not saved: the record follows.
        """
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"progress": vars(progress), "precision": self.precision}
        self.snapshot = checkpoint.pack(self.spec.hash, state)

        due = (
            progress.epoch % self.options.checkpoint_every == 0
            or time.monotonic() - self.saved_at >= self.options.checkpoint_seconds
        )
        if due and progress.epoch < self.spec.epochs:
            self.save()

    def save(self) -> None:
        """Put the last snapshot on the disk, where it is not there already."""
        if self.snapshot:
            checkpoint.save(self.path, self.snapshot)
            self.snapshot = b""
            self.saved_at = time.monotonic()

    def interrupted(self, progress: Progress) -> None:
        """Save what the next call goes on from, and say so."""
        self.save()
        self.options.log(
            f"interrupted after epoch {progress.epoch} of {self.spec.epochs}; "
            "the same command goes on from there"
        )


def model_path(spec: RunSpec, options: Options) -> Path:
    """Where the finished model of a pretraining run is kept, for every run that selects from it."""
    return Path(options.cache) / "models" / f"{spec.hash}-{robustfl.__version__}.pt"


def pretrained_run(spec: RunSpec, options: Options, device: torch.device) -> Pretrained:
    """The finished run of spec.pretraining(), from the cache or trained now under a lock.

    A finished model is read without the lock: the cache may be another user's, or read-only.
    Raises ValueError where one must be trained and the cache cannot be written.
    """
    source = spec.pretraining()
    path = model_path(source, options)
    try:
        state = checkpoint.load(path, source.hash)
    except (FileNotFoundError, checkpoint.CheckpointError):
        state = _pretrain(source, path, options)

    # a new model each time: a run may train it further, as raw clusters do
    model = new_model(source, device)
    model.load_state_dict(state["model"])
    return Pretrained(model, state["forgetting"].to(device))


def _pretrain(source: RunSpec, path: Path, options: Options) -> dict:
    """The state of a finished pretraining run, trained now unless another call does so first."""
    check_folder(path.parent, "cache")
    with locked(path.with_suffix(".lock")):
        state = checkpoint.last_good(path, source.hash, options.log)
        if state is None:
            options.log(
                f"training the pretrained model {source.hash} first ({source.epochs} epochs)"
            )
            state = train_or_resume(source, path.with_suffix(".ckpt"), options).pretrained_state()
            checkpoint.save(path, checkpoint.pack(source.hash, state))
            checkpoint.remove(path.with_suffix(".ckpt"))
        return state


def _keep_model(spec: RunSpec, fitted: Fitted, options: Options) -> None:
    """Put a finished model into the cache for runs that select from it, where that can be written.

    Without it, the first of those runs trains it.
    """
    path = model_path(spec, options)
    try:
        check_folder(path.parent, "cache")
    except ValueError as error:
        options.log(f"the model is not kept for other runs: {error}")
        return
    checkpoint.save(path, checkpoint.pack(spec.hash, fitted.pretrained_state()))


def weights_hash(model: nn.Module) -> str:
    """sha256 of every parameter and buffer."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def summarise(name: str, spec: RunSpec, fitted: Fitted, begin: str) -> dict:
    """The final numbers of metrics.json; docs/records.md says what each means."""
    progress = fitted.progress
    origin = dict(fitted.origin)

    # the epochs that were tested; of equals the first is the best
    tested = [row for row in progress.curves if row["test_top1"] is not None]
    best = max(tested, key=lambda row: row["test_top1"])
    last = tested[-1]
    chosen = None
    if last["heldout_acc"] is not None:
        chosen = max(tested, key=lambda row: row["heldout_acc"])

    # a single epoch without a reading leaves the whole run without one
    joules = [row["energy"] for row in progress.timings]
    seconds = {
        key: round(sum(row[key] for row in progress.timings), 3)
        for key in ("select", "train", "evaluate")
    }
    return {
        "name": name,
        "spec_hash": spec.hash,
        "best_top1": best["test_top1"],
        "best_epoch": best["epoch"],
        "best_top5": max(row["test_top5"] for row in tested),
        "last_top1": last["test_top1"],
        "last_top5": last["test_top5"],
        "heldout_top1": chosen and chosen["test_top1"],
        "heldout_epoch": chosen and chosen["epoch"],
        "covered": last["covered"],
        "label_precision": last["label_precision"],
        "forwards": progress.forwards,
        "backwards": progress.backwards,
        "noise_measured": origin.pop("noise_measured"),
        "selection_hash": fitted.selector.hash,
        "seconds": seconds,
        "energy": None if None in joules else round(sum(joules), 3),
        "provenance": provenance.collect(
            fitted.device, weights_hash=weights_hash(fitted.model), begin=begin, **origin
        ),
    }
