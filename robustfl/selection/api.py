"""`robustfl.select`: the one call for other people's training."""

from __future__ import annotations

import dataclasses

import numpy as np

from robustfl import rng
from robustfl.selection import validation
from robustfl.selection import weights as counts
from robustfl.selection.methods import (
    centrality,
    el2n,
    facility_location,
    forgetting,
    full,
    random,
    set_cover,
    small_loss,
)
from robustfl.selection.result import Selection

# A new selector = one file and one line here.
SELECTORS = {
    "facility_location": facility_location.select,
    "centrality": centrality.select,
    "random": random.select,
    "full": full.select,
    "set_cover": set_cover.select,
    "el2n": el2n.select,
    "small_loss": small_loss.select,
    "forgetting": forgetting.select,
}


def select(
    points,
    labels=None,
    *,
    method: str = "facility_location",
    ratio: float,
    radius: float | None = None,
    metric: str = "euclidean",
    seed: int = 0,
    weights: str | None = None,
    **options,
) -> Selection:
    """A weighted subset of `points`: class by class, in the order in which the method picked.

    points: (n, d) numpy array or torch tensor, or the (n, n) similarity matrix for metric="precomputed".
      Outer products of two vectors each, such as last-layer gradients: `selection.OuterProducts`.
    labels: (n,) integers; None: one class. ratio: share of each class to pick, in (0, 1].
    method: a key of SELECTORS; options go to it. metric: euclidean, sqeuclidean, cosine (1 - cos) or precomputed.
    weights: "cluster" (points nearest to the pick), "ball" (points of its class within `radius`, in units of the metric) or
    "uniform" (ones). None: "ball" where a radius is given, else the method's own, as its docstring says.
    Raises ValueError naming parameter, rule and value; MemoryError where a class is too large.
    """
    validation.one_of(method, "method", SELECTORS)
    validation.one_of(metric, "metric", validation.METRICS)
    validation.ratio(ratio)
    if weights is not None:
        validation.one_of(weights, "weights", validation.WEIGHTS)
    if radius is not None:
        validation.radius(radius)
    if weights == "ball" and radius is None:
        raise ValueError("radius must be given for weights='ball'; got None")
    points = validation.points(points, metric)
    labels = validation.labels(labels, len(points))
    picked = SELECTORS[method](
        points, labels, ratio, rng.stream(validation.seed(seed), "select"), metric=metric, **options
    )
    kind = weights or ("ball" if radius is not None else "natural")
    if kind == "natural":
        return picked
    return dataclasses.replace(
        picked, weights=_weights(points, labels, picked, kind, radius, metric)
    )


def _weights(
    points, labels, picked: Selection, kind: str, radius: float | None, metric: str
) -> np.ndarray:
    if kind == "uniform":
        return np.ones(len(picked))
    if kind == "cluster":
        return counts.cluster(points, labels, picked.indices, metric=metric)
    return counts.ball(points, labels, picked.indices, radius, metric=metric)
