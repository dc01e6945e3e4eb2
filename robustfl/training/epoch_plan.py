"""What an epoch trains on: a weighted subset, the order of its points, the partners of mixup."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from robustfl import rng
from robustfl.study.run_spec import RunSpec
from robustfl.training import augment
from robustfl.training.data import Data
from robustfl.training.metrics import Columns


@dataclass(frozen=True)
class Subset:
    """The k points to train on in an epoch, in greedy order within each class."""

    indices: np.ndarray  # (k,) int64 positions in the training set
    weights: np.ndarray  # (k,) float64 of mean 1
    classes: np.ndarray  # (k,) the class that each point was picked for
    # columns of curves.csv that describe the selection
    measures: Columns = field(default_factory=dict)
    forwards: int = 0  # images passed through the network for this selection
    # rows of classes.csv, for a new selection under label noise
    by_class: list[dict] = field(default_factory=list)
    warmup: bool = False  # the whole set, before the first selection; it has no greedy order


@dataclass(frozen=True)
class Plan:
    """An epoch's points in the order of training. All tensors are on the data's device."""

    order: torch.Tensor  # (k,) int64 indices of images
    weights: torch.Tensor  # (k,) float32 of mean 1
    crops: torch.Tensor  # (n, 3) int64, see augment.draw_crops
    lr: float
    partners: torch.Tensor | None = None  # (k,) int64 images to mix in, where the spec mixes
    # (k,) float32 share of the point's own image in the mix; given exactly when partners are
    mixup_lambda: torch.Tensor | None = None


def epoch_order(subset: Subset, spec: RunSpec, epoch: int) -> np.ndarray:
    """(k,) int64 positions in the subset, in the order in which the epoch visits them.

    Warm-up epochs, which have no greedy order, are shuffled whatever the spec's order.
    """
    if spec.batch_order == "greedy" and not subset.warmup:
        return interleaved(subset.classes)

    # the stream of a run without an order seed keeps its old name, and so its old shuffles
    purpose = f"shuffle {spec.order_seed}" if spec.order_seed else "shuffle"
    shuffled = rng.stream(spec.seed, purpose, epoch).permutation(len(subset.indices))
    if spec.batch_order == "within_class" and not subset.warmup:
        return shuffled[interleaved(subset.classes[shuffled])]
    return shuffled


def interleaved(classes: np.ndarray) -> np.ndarray:
    """(k,) int64 positions that visit rank 0 of every class, then rank 1, and so on.

    classes: (k,) the class of each point; a point's rank is its place among those of its class.

    >>> interleaved(np.array([0, 0, 0, 1, 1])).tolist()
    [0, 3, 1, 4, 2]
    """
    rank = np.empty(len(classes), dtype=np.int64)
    for c in np.unique(classes):
        members = np.flatnonzero(classes == c)
        rank[members] = np.arange(len(members))
    return np.lexsort((classes, rank))


def plan_epoch(
    subset: Subset, order: np.ndarray, data: Data, spec: RunSpec, epoch: int, lr: float
) -> Plan:
    """The subset in an order, with the epoch's crops and, where the spec mixes, its partners.

    order: (k,) positions in the subset, see `epoch_order`.
    """
    device = data.given_labels.device

    def to_device(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    indices = to_device(subset.indices[order])
    weights = to_device(subset.weights[order]).float()
    crops = augment.draw_crops(spec.seed, epoch, len(data.images)).to(device)
    if not spec.mixup:
        return Plan(indices, weights, crops, lr)

    partners, shares = _mixed(subset, order, data, spec, epoch)
    return Plan(indices, weights, crops, lr, to_device(partners), to_device(shares).float())


def _mixed(
    subset: Subset, order: np.ndarray, data: Data, spec: RunSpec, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """(k,) int64 partners and (k,) shares of the points in their order; all 1 before mixing begins.

    Epochs that do not mix have partners too, so that the steps of all epochs are the same.
    """
    generator = rng.stream(spec.seed, "mix", epoch)
    classes = subset.classes[order]
    if spec.mixup_variant == "released":
        given = data.given_labels.cpu().numpy()
        partners, shares = partners_as_released(classes, given, spec.batch_size, generator)
        mixes = epoch > spec.warmup + 1
    else:
        partners, shares = partners_of(classes, subset.indices[order], generator)
        mixes = not subset.warmup
    return partners, shares if mixes else np.ones_like(shares)


def partners_of(
    classes: np.ndarray, indices: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """CRUST's mixing: each pick has a partner among the picks of its given class, and its own
    share lambda ~ Beta(1, 0.1).

    classes, indices: (k,) of the picks. Returns (k,) int64 indices and (k,) shares in [0, 1].
    Source: Mirzasoleiman, Cao, Leskovec 2020, section 3.3 and appendix ("coresets and mixup").
    """
    # one draw per pick, whatever its class, so that no class moves the draws of another
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
    """The mixing of CRUST's released code: each pick has a partner among *all* points of its given
    class, and each batch has one share lambda ~ Beta(1, 0.1).

    classes: (k,) of the picks, in the epoch's order; given: (n,) labels of the whole training set.
    Returns (k,) int64 indices and (k,) shares in [0, 1].
    Source: `fetch` and `train` of the code with NeurIPS 2020's CRUST.
    """
    draws = generator.random(len(classes))
    batches = -(-len(classes) // batch)  # the last one may be smaller
    shares = np.repeat(generator.beta(1.0, 0.1, batches), batch)[: len(classes)]

    partners = np.empty(len(classes), dtype=np.int64)
    for c in np.unique(classes):
        members = np.flatnonzero(classes == c)
        everyone = np.flatnonzero(given == c)
        partners[members] = everyone[(draws[members] * len(everyone)).astype(np.int64)]
    return partners, shares
