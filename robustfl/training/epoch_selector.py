"""From a run's spec to its subset of an epoch: warm-up, points, selector, representatives, weights, and their measures."""

from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from robustfl import rng
from robustfl.selection import SELECTORS, OuterProducts, weights
from robustfl.selection.outer import each
from robustfl.study.run_spec import RunSpec
from robustfl.training import embeddings
from robustfl.training.augment import PAD
from robustfl.training.data import Data
from robustfl.training.epoch_plan import Subset
from robustfl.training.metrics import (
    Coverage,
    class_quality,
    effective_size,
    gradient_quality,
    label_quality,
    training_fit,
)

SHOWN = 8  # points of each kind in picks.json
OBSERVE_EVERY = (
    10  # epochs between looks at the training set, where no selection looks at it anyway
)
NO_POINTS = frozenset({"full", "random"})  # selectors that look at no points ...
BLIND_WEIGHTS = frozenset(
    {"uniform", "class"}
)  # ... and weights that need none: together they cost no forward pass


@dataclass(frozen=True)
class Pretrained:
    """The finished pretraining run. forgetting: (n,) forgetting events of each training image."""

    model: nn.Module
    forgetting: torch.Tensor


class EpochSelector:
    """Callable (epoch, model) -> Subset. Its state (`state_dict`) is part of a checkpoint.

    pretrained: what a `pretrained` spec selects from, once; None otherwise.
    Raises ValueError for an unknown method.
    """

    def __init__(self, spec: RunSpec, data: Data, pretrained: Pretrained | None = None) -> None:
        if spec.method not in SELECTORS:
            raise ValueError(f"method must be one of {', '.join(SELECTORS)}; got {spec.method!r}")
        if spec.pretrained and pretrained is None:
            raise ValueError(
                "pretrained must be a finished model for a spec with pretrained=True; got None"
            )
        self.spec, self.data, self.pretrained = spec, data, pretrained
        self.given = data.given_labels.cpu().numpy()
        self.clean = (data.given_labels == data.true_labels).cpu().numpy()
        self.needs_points = spec.method not in NO_POINTS or spec.weights not in BLIND_WEIGHTS
        self.once = spec.pretrained or (spec.method == "full" and not self.needs_points)
        self.coverage = Coverage(np.zeros(len(self.given), dtype=np.int64))
        self.subset: Subset | None = None
        self._seen: embeddings.Pass | None = (
            None  # this epoch's selection's pass through the current model
        )
        self.hash = ""  # chain of sha256 over every selection's indices and weights

    def __call__(self, epoch: int, model: nn.Module) -> Subset:
        n, since = len(self.given), epoch - self.spec.warmup - 1
        self._seen = None
        if since < 0:
            return Subset(np.arange(n), np.ones(n), self.given, warmup=True)
        if self.subset is not None and (self.once or since % self.spec.every):
            kept = {k: v for k, v in self.subset.measures.items() if k != "overlap"}
            return Subset(self.subset.indices, self.subset.weights, self.subset.classes, kept)
        self.subset = self._select(epoch, model)
        for part in (self.subset.indices, self.subset.weights):
            self.hash = hashlib.sha256(
                self.hash.encode() + np.ascontiguousarray(part).tobytes()
            ).hexdigest()
        return self.subset

    def observe(self, epoch: int, model: nn.Module, subset: Subset) -> dict:
        """How the model as it is fits the whole training set, and how well the subset stands for its gradient.

        At a selection its own pass tells; else a pass is made every OBSERVE_EVERY epochs and before the last one.
        """
        due = (epoch - 1) % OBSERVE_EVERY == 0 or epoch == self.spec.epochs
        if self._seen is None and not due:
            return {}
        data = self.data
        seen = self._seen or embeddings.forward(
            model, data.images, data.given_labels, self.spec.precision
        )
        self._seen = None
        return training_fit(seen.hits, data.given_labels == data.true_labels) | gradient_quality(
            seen, torch.from_numpy(subset.indices), torch.from_numpy(subset.weights)
        )

    def _select(self, epoch: int, model: nn.Module) -> Subset:
        spec, points = self.spec, None
        if self.needs_points:
            points = each(
                self._points(epoch, model), lambda part: part if part.is_cuda else part.numpy()
            )
        generator = rng.stream(spec.seed, "select", epoch)
        blind = np.zeros((len(self.given), 1), dtype=np.float32) if points is None else points
        picked = SELECTORS[spec.method](blind, self.given, self._ratio(epoch), generator)
        if spec.representative == "sampled":
            picked = weights.sample_representatives(blind, self.given, picked, generator)
        indices = picked.indices
        w = self._weights(points, picked)

        # what the selection is made of
        overlap = self.coverage.add(indices)
        measures = label_quality(indices, w, self.clean) | {"effective_size": effective_size(w)}
        measures |= {
            "overlap": overlap,
            "covered": self.coverage.share,
            "objective": None,
            "covered_ball": None,
        }
        if points is not None and spec.method != "full":
            value, whole = weights.facility_value(points, self.given, indices)
            measures["objective"] = value / whole if whole > 0 else 1.0
            if spec.weights == "ball":
                near = weights.within_ball(
                    points, self.given, indices, spec.radius, spec.radius_unit
                )
                measures["covered_ball"] = float(near.mean())
        cost = len(self.given) if points is not None and spec.space != "forgetting" else 0
        by_class = class_quality(indices, self.given, self.clean) if spec.noise != "none" else []
        return Subset(
            indices, w * (len(w) / w.sum()), self.given[indices], measures, cost, by_class
        )

    def _points(self, epoch: int, model: nn.Module) -> torch.Tensor | OuterProducts:
        """(n, d) float32: what the selector looks at this epoch."""
        spec, data = self.spec, self.data
        if spec.space == "forgetting":
            return self.pretrained.forgetting.float()[:, None]
        if spec.gradient_mode == "train":
            return embeddings.forward_as_released(
                model,
                data.images,
                data.given_labels,
                spec.precision,
                batch=spec.batch_size,
                seed=spec.seed,
                epoch=epoch,
            ).points(spec.space)
        source = self.pretrained.model if spec.pretrained else model
        seen = embeddings.forward(source, data.images, data.given_labels, spec.precision)
        if not spec.pretrained:
            self._seen = seen
        return seen.points(spec.space)

    def _ratio(self, epoch: int) -> float:
        """Of this epoch: constant, or growing linearly from ratio to final_ratio over the epochs after the warm-up."""
        spec = self.spec
        if not spec.final_ratio:
            return spec.ratio
        passed = (epoch - spec.warmup - 1) / max(1, spec.epochs - spec.warmup - 1)
        return spec.ratio + passed * (spec.final_ratio - spec.ratio)

    def _weights(self, points, picked) -> np.ndarray:
        """(k,) float64, not yet normalised."""
        spec = self.spec
        if spec.weights == "uniform":
            return np.ones(len(picked.indices))
        if spec.weights == "natural":
            return picked.weights
        if spec.weights == "cluster":
            return weights.cluster(points, self.given, picked.indices)
        if spec.weights == "class":
            return np.bincount(self.given).astype(np.float64)[self.given[picked.indices]]
        return weights.ball(points, self.given, picked.indices, spec.radius, spec.radius_unit)

    def picks(self) -> dict:
        """What picks.json says: the points picked most and least often, with their pixels. Only under label noise and where
        runs select again and again; otherwise every point says the same."""
        held = {"selections": self.coverage.selections, "shape": [], "most": [], "least": []}
        counts = self.coverage.counts
        if (
            self.spec.noise == "none"
            or self.coverage.selections < 2
            or counts.min() == counts.max()
        ):
            return held
        pixels = self.data.images.pixels[:, PAD:-PAD, PAD:-PAD]
        order = np.argsort(-counts, kind="stable")
        true = self.data.true_labels.cpu().numpy()

        def told(i: int) -> dict:
            packed = base64.b64encode(zlib.compress(pixels[i].cpu().numpy().tobytes(), 9)).decode()
            return {
                "count": int(counts[i]),
                "given": int(self.given[i]),
                "true": int(true[i]),
                "pixels": packed,
            }

        return held | {
            "shape": list(pixels.shape[1:]),
            "most": [told(i) for i in order[:SHOWN]],
            "least": [told(i) for i in order[::-1][:SHOWN]],
        }

    def state_dict(self) -> dict:
        """Tensors and plain values: what a resumed run needs to go on to the bit."""
        s, last = self.subset, self.coverage.last
        return {
            "hash": self.hash,
            "counts": torch.from_numpy(self.coverage.counts),
            "selections": self.coverage.selections,
            "last": None if last is None else torch.from_numpy(last),
            "subset": None
            if s is None
            else {
                "indices": torch.from_numpy(s.indices),
                "weights": torch.from_numpy(s.weights),
                "measures": s.measures,
            },
        }

    def load_state_dict(self, state: dict) -> None:
        self.hash = state["hash"]
        last = None if state["last"] is None else state["last"].numpy()
        self.coverage = Coverage(state["counts"].numpy(), state["selections"], last)
        if state["subset"] is not None:
            indices, w = state["subset"]["indices"].numpy(), state["subset"]["weights"].numpy()
            self.subset = Subset(indices, w, self.given[indices], state["subset"]["measures"])
