"""The training loop: select, train an epoch on the subset, measure, again. Knows no selection method by name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from robustfl import rng
from robustfl.study.record import CURVES
from robustfl.study.run_spec import RunSpec
from robustfl.training import augment, energy_meter
from robustfl.training.metrics import evaluate
from robustfl.training.steps.eager import Data, EagerSteps, Plan, learning_rate


class TrainingError(RuntimeError):
    """Training cannot go on (a loss that is not finite, say); the message names the epoch and the value."""


@dataclass(frozen=True)
class Subset:
    """What to train on in an epoch. indices: (k,) int64 in greedy order within class; weights: (k,) of mean 1."""

    indices: np.ndarray
    weights: np.ndarray
    classes: np.ndarray  # (k,) the class each pick was made for
    measures: dict = field(
        default_factory=dict
    )  # columns of curves.csv that describe the selection
    forwards: int = 0  # forward passes this selection cost
    by_class: list[dict] = field(
        default_factory=list
    )  # rows of classes.csv, for a new selection under label noise


Select = Callable[[int, nn.Module], Subset]
Observe = Callable[
    [int, nn.Module, Subset], dict
]  # columns of curves.csv; costs the run nothing but time


def interleaved(classes: np.ndarray) -> np.ndarray:
    """Positions (k,) that visit rank 0 of every class, then rank 1, and so on; classes (k,), each in its own order."""
    rank = np.empty(len(classes), dtype=np.int64)
    for c in np.unique(classes):
        members = np.flatnonzero(classes == c)
        rank[members] = np.arange(len(members))
    return np.lexsort((classes, rank))


def epoch_order(subset: Subset, spec: RunSpec, epoch: int) -> np.ndarray:
    """Positions (k,) in the order in which the epoch visits the subset.

    Warm-up epochs, which have no greedy order, are shuffled whatever the spec's order.
    """
    if spec.order == "greedy" and subset.measures:
        return interleaved(subset.classes)
    purpose = f"shuffle {spec.order_seed}" if spec.order_seed else "shuffle"
    shuffled = rng.stream(spec.seed, purpose, epoch).permutation(len(subset.indices))
    if spec.order == "within_class" and subset.measures:
        return shuffled[interleaved(subset.classes[shuffled])]
    return shuffled


def plan_epoch(
    subset: Subset, at: np.ndarray, data: Data, spec: RunSpec, epoch: int, lr: float
) -> Plan:
    """The subset in the order `at`, with the epoch's crops and, where the spec mixes, its partners, on the data's device."""
    device = data.given_labels.device
    order, weights = (
        torch.from_numpy(np.ascontiguousarray(v[at])).to(device)
        for v in (subset.indices, subset.weights)
    )
    crops = augment.draw_crops(spec.seed, epoch, len(data.images)).to(device)
    mix = (None, None)
    if spec.mix:
        generator = rng.stream(spec.seed, "mix", epoch)
        if spec.mixing == "released":
            given = data.given_labels.cpu().numpy()
            partners, shares = partners_as_released(
                subset.classes[at], given, spec.batch_size, generator
            )
            mixes = epoch > spec.warmup + 1
        else:
            partners, shares = partners_of(subset.classes[at], subset.indices[at], generator)
            mixes = bool(subset.measures)  # warm-up epochs do not mix
        shares = shares if mixes else np.ones_like(shares)
        mix = torch.from_numpy(partners).to(device), torch.from_numpy(shares).float().to(device)
    return Plan(order, weights.float(), crops, lr, *mix)


def partners_of(
    classes: np.ndarray, indices: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """CRUST's mixing: for each pick a partner among the picks of its given class, and its own share lambda ~ Beta(1, 0.1).

    classes, indices: (k,). Returns (k,) int64 indices and (k,) shares in [0, 1].
    Source: Mirzasoleiman, Cao, Leskovec 2020, section 3.3 and appendix ("coresets and mixup").
    """
    draws = generator.random(len(indices))
    shares = generator.beta(1.0, 0.1, len(indices))
    partners = np.empty_like(indices)
    for c in np.unique(classes):
        members = np.flatnonzero(classes == c)
        partners[members] = indices[members[(draws[members] * len(members)).astype(np.int64)]]
    return partners, shares


def partners_as_released(
    classes: np.ndarray, given: np.ndarray, batch: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The mixing of CRUST's released code: partners among *all* points of a pick's given class, and one lambda ~
    Beta(1, 0.1) for each batch.

    classes: (k,) of the picks, in the epoch's order; given: (n,) labels of the whole training set. Returns (k,)
    int64 indices and (k,) shares in [0, 1]. Source: `fetch` and `train` of the code with NeurIPS 2020's CRUST.
    """
    draws = generator.random(len(classes))
    shares = np.repeat(generator.beta(1.0, 0.1, -(-len(classes) // batch)), batch)[: len(classes)]
    partners = np.empty(len(classes), dtype=np.int64)
    for c in np.unique(classes):
        members, everyone = np.flatnonzero(classes == c), np.flatnonzero(given == c)
        partners[members] = everyone[(draws[members] * len(everyone)).astype(np.int64)]
    return partners, shares


@dataclass
class Progress:
    """What a run has done so far; a checkpoint holds exactly this beside model and optimizer."""

    epoch: int = 0  # epochs finished
    forwards: int = 0
    backwards: int = 0
    curves: list[dict] = field(default_factory=list)
    timings: list[dict] = field(default_factory=list)
    classes: list[dict] = field(default_factory=list)


def train_epochs(
    model: nn.Module,
    data: Data,
    spec: RunSpec,
    *,
    select: Select,
    observe: Observe | None = None,
    steps: EagerSteps | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
    clock: Callable[[], float] = time.perf_counter,
    meter: energy_meter.EnergyMeter = lambda: None,
) -> Progress:
    """Train `model` in place for the epochs left: select(epoch, model) and observe(epoch, model, subset) before each,
    on_epoch after it. Epochs count from 1; every `test_every`-th and the last are tested.

    Raises TrainingError when the epoch's training or test loss is not finite.
    """
    steps = steps or EagerSteps(model, data, spec)
    progress = progress or Progress()
    for epoch in range(progress.epoch + 1, spec.epochs + 1):
        # choose what to train on, and look at it
        start, _ = clock(), meter()
        subset = select(epoch, model)
        selected = clock()
        observed, looked = {}, selected
        if observe is not None:
            observed, looked = observe(epoch, model, subset), clock()

        # train on it
        lr = learning_rate(spec, epoch)
        at = epoch_order(subset, spec, epoch)
        totals = steps.run_epoch(plan_epoch(subset, at, data, spec, epoch, lr))
        loss, given, true = totals.tolist()  # the epoch's one synchronisation
        trained, spent = clock(), meter()
        _must_be_finite("training", loss, epoch, lr)

        # test the model
        tested = (
            _test(model, data, spec) if epoch % spec.test_every == 0 or epoch == spec.epochs else {}
        )
        if tested:
            _must_be_finite("test", tested["test_loss"], epoch, lr)

        # write it down
        progress.epoch = epoch
        forwards, backwards = steps.cost(len(at))
        progress.forwards += subset.forwards + forwards + (steps.setup if epoch == 1 else 0)
        progress.backwards += backwards
        progress.curves.append(
            dict.fromkeys(CURVES)
            | {"covered": 0.0, **subset.measures, **observed, **tested}
            | {
                "epoch": epoch,
                "lr": lr,
                "train_loss": loss / len(at),
                "train_acc_given": 100 * given / len(at),
                "train_acc_true": 100 * true / len(at),
                "selected": len(at),
                "forwards": progress.forwards,
                "backwards": progress.backwards,
            }
        )
        progress.classes.extend({"epoch": epoch} | row for row in subset.by_class)
        watching = (looked - selected) + (clock() - trained)
        progress.timings.append(
            {
                "epoch": epoch,
                "select": selected - start,
                "train": trained - looked,
                "evaluate": watching,
                "energy": spent,
            }
        )
        on_epoch(progress)
    return progress


def _test(model: nn.Module, data: Data, spec: RunSpec) -> dict:
    """The columns that come of the test set and of the hold-out, where there is one."""
    test = evaluate(model, data.test, data.test_labels, spec.precision)
    tested = {f"test_{key}": value for key, value in test.items()}
    if data.heldout is not None:
        tested["heldout_acc"] = evaluate(model, data.heldout, data.heldout_labels, spec.precision)[
            "top1"
        ]
    return tested


def _must_be_finite(what: str, loss: float, epoch: int, lr: float) -> None:
    if not math.isfinite(loss):
        raise TrainingError(f"{what} loss must be finite; got {loss} in epoch {epoch} (lr {lr:g})")
