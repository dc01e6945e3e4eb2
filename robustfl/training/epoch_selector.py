"""From a run's spec to the subset of an epoch: warm-up, points, selector, weights, measures."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from robustfl import rng
from robustfl.selection import SELECTORS, OuterProducts, Selection, weights
from robustfl.selection.outer import each
from robustfl.study.curve_row import OBSERVE_EVERY
from robustfl.study.run_spec import RunSpec
from robustfl.training import embeddings, picks
from robustfl.training.data import Data
from robustfl.training.epoch_plan import Subset
from robustfl.training.metrics import (
    Columns,
    Coverage,
    class_quality,
    effective_size,
    gradient_quality,
    label_quality,
    training_fit,
)

Points = np.ndarray | torch.Tensor | OuterProducts  # numpy on a CPU, torch on a GPU


@dataclass(frozen=True)
class Pretrained:
    """The finished pretraining run. forgetting: (n,) forgetting events of each training image."""

    model: nn.Module
    forgetting: torch.Tensor


def needs_points(spec: RunSpec) -> bool:
    """Whether a selection of this spec looks at any point: a run that does not saves the pass."""
    picks_blindly = spec.method in ("full", "random")
    weighs_blindly = spec.weights in ("uniform", "class")
    return not (picks_blindly and weighs_blindly)


class EpochSelector:
    """Gives each epoch its subset; called as selector(epoch, model), see `loop.Select`.

    `state_dict` is part of a checkpoint. It holds what later selections and the record depend on:
    the last subset, how often each point was picked (`coverage`), and `hash`, which chains the
    sha256 of every selection's indices and weights.

    pretrained: what a spec with pretrained=True selects from, once; None for every other spec.
    Raises ValueError for an unknown method, and where a pretrained run is needed but not given.
    """

    def __init__(self, spec: RunSpec, data: Data, pretrained: Pretrained | None = None) -> None:
        if spec.method not in SELECTORS:
            raise ValueError(f"method must be one of {', '.join(SELECTORS)}; got {spec.method!r}")
        if spec.pretrained and pretrained is None:
            raise ValueError(
                "pretrained must be a finished model for a spec with pretrained=True; got None"
            )
        self.spec = spec
        self.data = data
        self.pretrained = pretrained
        self.given = data.given_labels.cpu().numpy()
        self.clean = (data.given_labels == data.true_labels).cpu().numpy()

        # the state
        self.subset: Subset | None = None  # the last selection; None in warm-up
        self.coverage = Coverage(np.zeros(len(self.given), dtype=np.int64))
        self.hash = ""

        # the pass through the current model that this epoch's selection has made, for `observe`
        self._seen: embeddings.Pass | None = None

    def __call__(self, epoch: int, model: nn.Module) -> Subset:
        """The epoch's subset: everything in warm-up, then a new selection or the last one again.

        A subset that is used again costs nothing, has no rows of classes.csv, and no overlap with
        a selection before.
        """
        self._seen = None
        if epoch <= self.spec.warmup:
            n = len(self.given)
            return Subset(np.arange(n), np.ones(n), self.given, warmup=True)
        if self.subset is not None and not self._selects_again(epoch):
            measures = {k: v for k, v in self.subset.measures.items() if k != "overlap"}
            return dataclasses.replace(self.subset, measures=measures, forwards=0, by_class=[])

        # each selection is hashed with all before it, so one hash stands for a whole run's picks
        self.subset = self._select(epoch, model)
        for part in (self.subset.indices, self.subset.weights):
            data = np.ascontiguousarray(part).tobytes()
            self.hash = hashlib.sha256(self.hash.encode() + data).hexdigest()
        return self.subset

    def _selects_again(self, epoch: int) -> bool:
        """Whether this epoch, which is not the first after the warm-up, has a selection of its own.

        A finished model and the whole set give the same subset at every epoch.
        """
        spec = self.spec
        if spec.pretrained or (spec.method == "full" and not needs_points(spec)):
            return False
        return (epoch - spec.warmup - 1) % spec.selection_interval == 0

    def observe(self, epoch: int, model: nn.Module, subset: Subset) -> Columns:
        """How well the current model fits the training set, and how well the subset stands for its
        gradient: columns of curves.csv.

        The pass of this epoch's selection is used where it has made one. Else a pass is made every
        OBSERVE_EVERY epochs and before the last epoch; other epochs have no such columns.
        """
        data = self.data
        seen = self._seen
        self._seen = None
        if seen is None:
            if (epoch - 1) % OBSERVE_EVERY and epoch != self.spec.epochs:
                return {}
            seen = embeddings.forward(model, data.images, data.given_labels, self.spec.precision)

        fit = training_fit(seen.hits, data.given_labels == data.true_labels)
        indices = torch.from_numpy(subset.indices)
        return fit | gradient_quality(seen, indices, torch.from_numpy(subset.weights))

    def _select(self, epoch: int, model: nn.Module) -> Subset:
        """A new selection, counted in `coverage`, with its weights scaled to mean 1."""
        spec = self.spec
        points = self._points(epoch, model) if needs_points(spec) else None

        # pick; a selector that looks at no points is given zeros
        generator = rng.stream(spec.seed, "select", epoch)
        shown = np.zeros((len(self.given), 1), dtype=np.float32) if points is None else points
        picked = SELECTORS[spec.method](shown, self.given, self._ratio(epoch), generator)
        if spec.representative == "sampled":
            picked = weights.sample_representatives(shown, self.given, picked, generator)
        weight = self._weights(points, picked)  # (k,)

        # measure; forgetting events were counted in training and cost no pass
        measures = self._measures(points, picked.indices, weight)
        passes = points is not None and spec.embedding != "forgetting"
        by_class = []
        if spec.noise != "none":
            by_class = class_quality(picked.indices, self.given, self.clean)
        return Subset(
            indices=picked.indices,
            weights=weight * (len(weight) / weight.sum()),
            classes=self.given[picked.indices],
            measures=measures,
            forwards=len(self.given) if passes else 0,
            by_class=by_class,
        )

    def _points(self, epoch: int, model: nn.Module) -> Points:
        """(n, d) float32 points that the selector looks at in this epoch."""
        space = self.spec.embedding
        if self.pretrained is None:
            points = self._current_pass(epoch, model).points(space)
        elif space == "forgetting":
            points = self.pretrained.forgetting.float()[:, None]
        else:
            source = self.pretrained.model
            data = self.data
            seen = embeddings.forward(source, data.images, data.given_labels, self.spec.precision)
            points = seen.points(space)
        return each(points, lambda part: part if part.is_cuda else part.numpy())

    def _current_pass(self, epoch: int, model: nn.Module) -> embeddings.Pass:
        """A pass through the model as it is now; one in eval mode is kept for `observe`."""
        spec = self.spec
        data = self.data
        if spec.gradient_mode == "train":
            return embeddings.forward_as_released(
                model,
                data.images,
                data.given_labels,
                spec.precision,
                batch=spec.batch_size,
                seed=spec.seed,
                epoch=epoch,
            )
        self._seen = embeddings.forward(model, data.images, data.given_labels, spec.precision)
        return self._seen

    def _ratio(self, epoch: int) -> float:
        """The share to pick: constant, or growing linearly from ratio to final_ratio over the
        epochs after the warm-up."""
        spec = self.spec
        if not spec.ratio_end:
            return spec.ratio
        passed = (epoch - spec.warmup - 1) / max(1, spec.epochs - spec.warmup - 1)
        return spec.ratio + passed * (spec.ratio_end - spec.ratio)

    def _weights(self, points: Points | None, picked: Selection) -> np.ndarray:
        """(k,) float64 weights of the picks, not yet scaled."""
        spec = self.spec
        if spec.weights == "uniform":
            return np.ones(len(picked.indices))
        if spec.weights == "from_selector":
            return picked.weights
        if spec.weights == "cluster":
            return weights.cluster(points, self.given, picked.indices)
        if spec.weights == "class":
            return np.bincount(self.given).astype(np.float64)[self.given[picked.indices]]
        return weights.ball(points, self.given, picked.indices, spec.radius, spec.radius_unit)

    def _measures(self, points: Points | None, indices: np.ndarray, weight: np.ndarray) -> Columns:
        """Columns of curves.csv that describe a selection, which is added to `coverage`.

        indices, weight: (k,). `objective` and `covered_ball` are None where they need points that
        the selection has not looked at, and `covered_ball` is None without balls.
        """
        spec = self.spec
        overlap = self.coverage.add(indices)
        measures: Columns = {
            **label_quality(indices, weight, self.clean),
            "effective_size": effective_size(weight),
            "overlap": overlap,
            "covered": self.coverage.share,
            "objective": None,
            "covered_ball": None,
        }
        if points is None or spec.method == "full":
            return measures

        value, whole = weights.facility_value(points, self.given, indices)
        measures["objective"] = value / whole if whole > 0 else 1.0
        if spec.weights == "ball":
            inside = weights.within_ball(points, self.given, indices, spec.radius, spec.radius_unit)
            measures["covered_ball"] = float(inside.mean())
        return measures

    def picks(self) -> dict:
        """The contents of picks.json, see `picks.most_and_least`; no points without label noise."""
        if self.spec.noise == "none":
            return picks.without_points(self.coverage)
        return picks.most_and_least(self.coverage, self.data)

    def state_dict(self) -> dict:
        """Tensors and plain values with which a resumed run goes on to the bit."""
        last = self.coverage.last
        subset = None
        if self.subset is not None:
            subset = {
                "indices": torch.from_numpy(self.subset.indices),
                "weights": torch.from_numpy(self.subset.weights),
                "measures": self.subset.measures,
            }
        return {
            "hash": self.hash,
            "counts": torch.from_numpy(self.coverage.counts),
            "selections": self.coverage.selections,
            "last": None if last is None else torch.from_numpy(last),
            "subset": subset,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from `state_dict`'s answer."""
        self.hash = state["hash"]
        last = None if state["last"] is None else state["last"].numpy()
        self.coverage = Coverage(state["counts"].numpy(), state["selections"], last)
        saved = state["subset"]
        if saved is not None:
            indices = saved["indices"].numpy()
            self.subset = Subset(
                indices, saved["weights"].numpy(), self.given[indices], saved["measures"]
            )
