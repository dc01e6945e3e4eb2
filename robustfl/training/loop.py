"""The training loop: select, train an epoch on the subset, measure, again.

It knows no selection method and no update rule by name: whoever calls it passes both.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import nn

from robustfl.study.record import CURVES
from robustfl.study.run_spec import RunSpec
from robustfl.training.data import Data
from robustfl.training.energy_meter import EnergyMeter
from robustfl.training.epoch_plan import Plan, Subset, epoch_order, plan_epoch
from robustfl.training.metrics import Columns, evaluate
from robustfl.training.optim import learning_rate
from robustfl.training.steps.eager import EagerSteps


class TrainingError(RuntimeError):
    """Training cannot go on, because a loss is not finite; the message names epoch and value."""


class Select(Protocol):
    """Gives the subset that an epoch trains on."""

    def __call__(self, epoch: int, model: nn.Module, /) -> Subset: ...


class Observe(Protocol):
    """Measures the model and the subset before an epoch; counts as evaluation, not as training."""

    def __call__(self, epoch: int, model: nn.Module, subset: Subset, /) -> Columns: ...


class EpochSteps(Protocol):
    """Trains the model, epoch by epoch. `EagerSteps` is the reference."""

    setup: int  # images passed through the network before the first epoch

    def run_epoch(self, plan: Plan, /) -> torch.Tensor:
        """Train on the plan's points; (3,) float64 sums over the epoch: weighted loss, hits on the
        given labels, hits on the true labels."""

    def cost(self, points: int, /) -> tuple[int, int]:
        """Images that an epoch over so many points passes forward and backward."""


@dataclass
class Progress:
    """What a run has done so far; a checkpoint holds exactly this beside model and optimizer."""

    epoch: int = 0  # epochs finished
    forwards: int = 0  # images passed through the network so far, for selection and training
    backwards: int = 0  # images passed back through it so far
    curves: list[dict] = field(default_factory=list)  # rows of curves.csv, one per epoch
    timings: list[dict] = field(default_factory=list)  # rows of timings.csv, seconds and joules
    classes: list[dict] = field(default_factory=list)  # rows of classes.csv


def train_epochs(
    model: nn.Module,
    data: Data,
    spec: RunSpec,
    *,
    select: Select,
    observe: Observe | None = None,
    steps: EpochSteps | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
    clock: Callable[[], float] = time.perf_counter,
    meter: EnergyMeter = lambda: None,
) -> Progress:
    """Train `model` in place for the epochs that are left of the spec's.

    select and observe are called before each epoch, on_epoch after it. Epochs count from 1; every
    `test_every`-th and the last are tested. clock: seconds; meter: see `energy_meter`. Raises
    TrainingError when the epoch's training or test loss is not finite.
    """
    steps = steps or EagerSteps(model, data, spec)
    progress = progress or Progress()
    for epoch in range(progress.epoch + 1, spec.epochs + 1):
        # select what to train on, and look at it
        started = clock()
        meter()
        subset = select(epoch, model)
        selected = observed_until = clock()
        observed: Columns = {}
        if observe is not None:
            observed = observe(epoch, model, subset)
            observed_until = clock()

        # train on it
        totals = _train(steps, subset, data, spec, epoch)
        trained = clock()
        joules = meter()
        _must_be_finite("training", totals[0], spec, epoch)

        # test the model, and write everything down
        measured = subset.measures | observed | _test(model, data, spec, epoch)
        _end_epoch(progress, subset, steps, spec, epoch, totals, measured)
        times = (started, selected, observed_until, trained, clock())
        progress.timings.append(_timing_row(epoch, *times, joules))
        on_epoch(progress)
    return progress


def _train(steps: EpochSteps, subset: Subset, data: Data, spec: RunSpec, epoch: int) -> list[float]:
    """Train an epoch on its subset; the three totals of `EpochSteps.run_epoch`."""
    order = epoch_order(subset, spec, epoch)
    plan = plan_epoch(subset, order, data, spec, epoch, learning_rate(spec, epoch))
    # `tolist` is the one wait for the device: without it the clock would stop too early
    return steps.run_epoch(plan).tolist()


def _test(model: nn.Module, data: Data, spec: RunSpec, epoch: int) -> Columns:
    """The columns of the test set and of the hold-out, where there is one.

    None in epochs that are not tested. Raises TrainingError as `train_epochs` does.
    """
    if epoch % spec.test_interval and epoch != spec.epochs:
        return {}
    test = evaluate(model, data.test, data.test_labels, spec.precision)
    _must_be_finite("test", test["loss"], spec, epoch)
    columns: Columns = {f"test_{key}": value for key, value in test.items()}

    # its labels are as noisy as those trained on, so that choosing an epoch by it needs no truth
    if data.heldout is not None and data.heldout_labels is not None:
        heldout = evaluate(model, data.heldout, data.heldout_labels, spec.precision)
        columns["heldout_acc"] = heldout["top1"]
    return columns


def _must_be_finite(what: str, loss: float, spec: RunSpec, epoch: int) -> None:
    if not math.isfinite(loss):
        lr = learning_rate(spec, epoch)
        raise TrainingError(f"{what} loss must be finite; got {loss} in epoch {epoch} (lr {lr:g})")


def _end_epoch(
    progress: Progress,
    subset: Subset,
    steps: EpochSteps,
    spec: RunSpec,
    epoch: int,
    totals: list[float],
    measured: Columns,
) -> None:
    """Add an epoch that has ended: its passes through the network, and its rows but the timings."""
    points = len(subset.indices)
    forwards, backwards = steps.cost(points)
    setup = steps.setup if epoch == 1 else 0
    progress.epoch = epoch
    progress.forwards += subset.forwards + forwards + setup
    progress.backwards += backwards

    # the row has the passes so far, so it is made after they are counted
    lr = learning_rate(spec, epoch)
    progress.curves.append(_curve_row(progress, lr, points, totals, measured))
    progress.classes.extend({"epoch": epoch} | row for row in subset.by_class)


def _curve_row(
    progress: Progress, lr: float, points: int, totals: list[float], measured: Columns
) -> dict:
    """The epoch's row of curves.csv. points: trained on; totals: see `EpochSteps.run_epoch`."""
    loss, hits_given, hits_true = totals
    trained = {
        "epoch": progress.epoch,
        "lr": lr,
        "train_loss": loss / points,
        "train_acc_given": 100 * hits_given / points,
        "train_acc_true": 100 * hits_true / points,
        "selected": points,
        "forwards": progress.forwards,
        "backwards": progress.backwards,
    }
    # every column is there, None where the epoch has no value; in warm-up nothing is covered
    return dict.fromkeys(CURVES) | {"covered": 0.0} | measured | trained


def _timing_row(
    epoch: int,
    started: float,
    selected: float,
    observed: float,
    trained: float,
    ended: float,
    joules: float | None,
) -> dict:
    """The epoch's row of timings.csv, in seconds, from the clock's time at the end of each part.

    Observing and testing are both evaluation. joules: spent until the end of training.
    """
    return {
        "epoch": epoch,
        "select": selected - started,
        "train": trained - observed,
        "evaluate": (observed - selected) + (ended - trained),
        "energy": joules,
    }
