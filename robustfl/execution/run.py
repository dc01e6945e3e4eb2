"""One run, from spec to record: the only place where data, noise, model, selection and training are wired together."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

import robustfl
from robustfl import cuda, data, rng
from robustfl.data import label_noise, splits
from robustfl.execution import checkpoint, precision, provenance
from robustfl.selection import SELECTORS
from robustfl.study import record
from robustfl.study.run_spec import RunSpec
from robustfl.training import energy_meter, resnet
from robustfl.training.augment import Images
from robustfl.training.epoch_selector import EpochSelector, Pretrained
from robustfl.training.loop import Progress, TrainingError, train_epochs
from robustfl.training.steps.cuda_graph import GraphSteps
from robustfl.training.steps.eager import Data, EagerSteps
from robustfl.training.steps.raw_clusters import RawClusterSteps
from robustfl.training.steps.reweight import ReweightSteps

# A new way to train an epoch = one file and one line here (and its name in spec.STEPS).
STEPS = {"plain": EagerSteps, "reweight": ReweightSteps, "raw_clusters": RawClusterSteps}


class Interrupted(BaseException):
    """Raised into a run by a signal handler: the run saves its last finished epoch and ends."""


@dataclass(frozen=True)
class Options:
    """How and where to run: nothing here may change a number."""

    device: str = "auto"  # auto | cpu | cuda
    cache: str = "cache"
    source: str = "auto"  # of data sets, see robustfl.data.load
    folder: str | None = None
    checkpoint_every: int = 10  # epochs, at most ...
    checkpoint_seconds: float = (
        60.0  # ... and after the epoch in which so many have passed since the last one
    )
    graphs: bool = True  # CUDA graphs on a GPU; False = eager steps, the reference
    log: Callable[[str], None] = print


def pick_device(name: str) -> torch.device:
    """auto -> cuda where there is one. Raises ValueError when cuda is asked for and absent."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be one of auto, cpu, cuda; got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device must be present; got cuda, and torch sees no CUDA device")
    return torch.device(
        "cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu"
    )


def prepare(spec: RunSpec, options: Options, device: torch.device) -> tuple[Data, dict]:
    """Data on the device and what provenance says of it. Raises data.DataError."""
    kind = data.DATASETS[spec.dataset]
    source = "sample" if spec.sample else options.source
    arrays = data.load(
        spec.dataset, source=source, folder=options.folder, cache=options.cache, log=options.log
    )
    true = arrays.train_labels.astype(np.int64)
    noisy, measured = label_noise.apply(
        true, len(kind.classes), spec.noise, spec.noise_rate, spec.seed, spec.noise_map
    )
    keep = splits.stratified(true, spec.subset, rng.stream(spec.seed, "subset"))
    test = splits.stratified(arrays.test_labels, spec.test_subset, rng.stream(0, "test_subset"))
    if not 0 < round((1 - spec.holdout) * len(keep)) or spec.clean_set > len(keep):
        raise ValueError(
            f"holdout and clean_set must leave training points; got {spec.holdout}, {spec.clean_set} of {len(keep)}"
        )
    kept, held = splits.hold_out(keep, spec.holdout, rng.stream(spec.seed, "holdout"))

    def images(of: np.ndarray) -> Images:
        return Images.of(of, kind.mean, kind.std, device)

    def labels(of: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(of.astype(np.int64)).to(device)

    ready = Data(
        images(arrays.train_images[kept]),
        labels(noisy[kept]),
        labels(true[kept]),
        images(arrays.test_images[test]),
        labels(arrays.test_labels[test]),
        images(arrays.train_images[held]) if len(held) else None,
        labels(noisy[held]) if len(held) else None,
    )
    facts = {
        "data_source": arrays.source,
        "data_hashes": arrays.hashes,
        "noise_measured": measured,
        "label_hash": hashlib.sha256(noisy[kept].tobytes()).hexdigest(),
        "train_points": len(kept),
        "heldout_points": len(held),
        "test_points": len(test),
    }
    return ready, facts


@contextmanager
def locked(path: Path):
    """Hold an exclusive lock on `path` (made if absent); waits for another process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_to_record(
    spec: RunSpec,
    out: Path | str,
    name: str,
    options: Options,
    watch: Callable = lambda progress: None,
) -> dict:
    """Train `spec` and write its record into `out`; returns the metrics. A complete record of this spec is kept as is.

    watch(progress) is called after each epoch. Raises TrainingError, data.DataError, record.RecordError, OSError; none
    of them leaves a metrics.json.
    """
    out = Path(out)
    check(spec, out, options)
    with locked(out / ".lock"):
        if (out / "metrics.json").exists():
            done = record.read(out, name, spec)
            options.log(f"{name}: complete already; delete {out / 'metrics.json'} to train again")
            return done.metrics
        begin = provenance.now()
        fitted = train_or_resume(spec, out / "checkpoint.ckpt", options, watch)
        metrics = summarise(name, spec, fitted, begin)
        if spec == spec.pretraining():
            checkpoint.save(
                model_path(spec, options), checkpoint.pack(spec.hash, fitted.pretrained_state())
            )
        done = fitted.progress
        record.write(
            out, spec, metrics, done.curves, done.timings, done.classes, fitted.chooser.picks()
        )
        checkpoint.remove(out / "checkpoint.ckpt")
        return metrics


@dataclass(frozen=True)
class Fitted:
    """A trained run: what the record and a pretrained selection are made from."""

    model: nn.Module
    steps: EagerSteps
    chooser: EpochSelector
    progress: Progress
    facts: dict
    device: torch.device

    def pretrained_state(self) -> dict:
        """On the CPU: the run's own stream is another run's by now."""
        scores = self.steps.forgetting.scores(most=self.progress.epoch + 1)
        return {
            "model": {name: value.cpu() for name, value in self.model.state_dict().items()},
            "forgetting": scores.cpu(),
        }


def check(spec: RunSpec, out: Path, options: Options) -> None:
    """Refuse before anything is made or trained: names nobody knows, folders that cannot be written."""
    pick_device(options.device)
    known = {"dataset": data.DATASETS, "model": resnet.MODELS, "method": SELECTORS}
    for field, allowed in known.items():
        if getattr(spec, field) not in allowed:
            raise ValueError(
                f"{field} must be one of {', '.join(allowed)}; got {getattr(spec, field)!r}"
            )
    for what, folder in (("out", out), ("cache", Path(options.cache))):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"{what} must be a folder that exists or can be made; got {str(folder)!r}: {error.strerror}"
            ) from error
        if not os.access(folder, os.W_OK):
            raise ValueError(f"{what} must be a writable folder; got {str(folder)!r}")


def train_or_resume(
    spec: RunSpec, saved: Path, options: Options, watch: Callable = lambda progress: None
) -> Fitted:
    """Train a spec, going on from the last good checkpoint at `saved` where there is one."""
    device = pick_device(options.device)
    with cuda.exclusive_stream(device):
        return _train_or_resume(spec, saved, options, watch, device)


def _train_or_resume(
    spec: RunSpec, saved: Path, options: Options, watch: Callable, device: torch.device
) -> Fitted:
    ready, facts = prepare(spec, options, device)
    state = checkpoint.last_good(saved, spec.hash, options.log)
    resolved, precision_facts = in_precision(
        spec, device, options, state and state.get("precision")
    )
    facts |= precision_facts

    # what trains, and what it trains on
    pretrained = pretrained_run(spec, options, device) if spec.pretrained else None
    model = pretrained.model if spec.steps == "raw_clusters" else new_model(spec, device)
    chooser = EpochSelector(resolved, ready, pretrained)
    graphs = device.type == "cuda" and options.graphs and spec.steps == "plain"
    steps = (GraphSteps if graphs else STEPS[spec.steps])(
        model, ready, resolved, track=spec == spec.pretraining()
    )
    progress = Progress()
    if state is not None:
        model.load_state_dict(state["model"])
        steps.load_state_dict(state["steps"])
        chooser.load_state_dict(state["chooser"])
        progress = Progress(**state["progress"])
        options.log(f"going on after epoch {progress.epoch} of {spec.epochs}")

    snapshot, kept = (
        b"",
        time.monotonic(),
    )  # the run at the end of its last epoch; empty when the disk has it

    def on_epoch(now: Progress) -> None:
        nonlocal snapshot, kept
        state = {
            "model": model.state_dict(),
            "steps": steps.state_dict(),
            "chooser": chooser.state_dict(),
        }
        state |= {"progress": vars(now), "precision": resolved.precision}
        snapshot = checkpoint.pack(spec.hash, state)
        due = (
            now.epoch % options.checkpoint_every == 0
            or time.monotonic() - kept >= options.checkpoint_seconds
        )
        if due and now.epoch < spec.epochs:
            checkpoint.save(saved, snapshot)
            snapshot, kept = b"", time.monotonic()
        watch(now)

    try:
        train_epochs(
            model,
            ready,
            resolved,
            select=chooser,
            observe=chooser.observe,
            steps=steps,
            progress=progress,
            on_epoch=on_epoch,
            meter=energy_meter.meter(device),
        )
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"device memory must hold the run; {device} ran out: {error}"
        ) from error
    except (KeyboardInterrupt, Interrupted):
        if snapshot:
            checkpoint.save(saved, snapshot)
        options.log(
            f"interrupted after epoch {progress.epoch} of {spec.epochs}; the same command goes on from there"
        )
        raise
    finally:
        steps.close()
    return Fitted(model, steps, chooser, progress, facts, device)


def in_precision(
    spec: RunSpec, device: torch.device, options: Options, begun: str | None = None
) -> tuple[RunSpec, dict]:
    """The spec with `auto` resolved, and what provenance says of it.

    begun: the precision of a checkpoint, which a run keeps to its end. Raises as `precision.choose` does.
    """
    chosen, seconds = spec.precision, None
    if spec.precision == "auto":
        shape = data.DATASETS[spec.dataset].shape
        choice = precision.choose(device, spec.model, shape, spec.batch_size, options.cache)
        chosen, seconds = begun or choice.precision, choice.seconds or None
    return replace(spec, precision=chosen), {"precision": chosen, "precision_probe": seconds}


def new_model(spec: RunSpec, device: torch.device) -> nn.Module:
    kind = data.DATASETS[spec.dataset]
    model = resnet.build(spec.model, kind.shape[0], len(kind.classes), spec.seed)
    return model.to(device, memory_format=torch.channels_last)


def model_path(spec: RunSpec, options: Options) -> Path:
    return Path(options.cache) / "models" / f"{spec.hash}-{robustfl.__version__}.pt"


def pretrained_run(spec: RunSpec, options: Options, device: torch.device) -> Pretrained:
    """The finished run of spec.pretraining(), from the cache or trained now under a lock."""
    source = spec.pretraining()
    path = model_path(source, options)
    with locked(path.with_suffix(".lock")):
        state = checkpoint.last_good(path, source.hash, options.log)
        if state is None:
            options.log(
                f"training the pretrained model {source.hash} first ({source.epochs} epochs)"
            )
            state = train_or_resume(source, path.with_suffix(".ckpt"), options).pretrained_state()
            checkpoint.save(path, checkpoint.pack(source.hash, state))
            checkpoint.remove(path.with_suffix(".ckpt"))
    model = new_model(source, device)
    model.load_state_dict(state["model"])
    return Pretrained(model, state["forgetting"].to(device))


def weights_hash(model: nn.Module) -> str:
    """sha256 of every parameter and buffer."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def summarise(name: str, spec: RunSpec, fitted: Fitted, begin: str) -> dict:
    """The final numbers of metrics.json; docs/records.md says what each means."""
    progress, facts = fitted.progress, dict(fitted.facts)
    curves = [row for row in progress.curves if row["test_top1"] is not None]
    best = max(curves, key=lambda row: row["test_top1"])
    last = curves[-1]
    joules = [row["energy"] for row in progress.timings]
    held = (
        max(curves, key=lambda row: row["heldout_acc"]) if last["heldout_acc"] is not None else None
    )
    return {
        "name": name,
        "spec_hash": spec.hash,
        "best_top1": best["test_top1"],
        "best_epoch": best["epoch"],
        "best_top5": max(r["test_top5"] for r in curves),
        "last_top1": last["test_top1"],
        "last_top5": last["test_top5"],
        "heldout_top1": held and held["test_top1"],
        "heldout_epoch": held and held["epoch"],
        "covered": last["covered"],
        "label_precision": last["label_precision"],
        "forwards": progress.forwards,
        "backwards": progress.backwards,
        "noise_measured": facts.pop("noise_measured"),
        "selection_hash": fitted.chooser.hash,
        "seconds": {
            k: round(sum(r[k] for r in progress.timings), 3)
            for k in ("select", "train", "evaluate")
        },
        "energy": None if None in joules else round(sum(joules), 3),
        "provenance": provenance.collect(
            fitted.device, weights_hash=weights_hash(fitted.model), begin=begin, **facts
        ),
    }
