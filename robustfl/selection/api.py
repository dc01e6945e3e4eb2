"""`robustfl.select`: the one call for other people's training."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, Protocol

import numpy as np

from robustfl import rng
from robustfl.selection import validation
from robustfl.selection import weights as representation
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


class Selector(Protocol):
    """What every method is: a function of points, labels, a ratio and a source of randomness.

    It returns a Selection sorted by class and then by the order of its picks, leaves its inputs
    untouched, and gives the same answer for the same seed. Of class c it picks
    max(1, floor(ratio * n_c)) points; `full` takes all, and `set_cover` works on the whole set.
    A method may have more options, by keyword and with defaults; `select` passes them on.
    rng: None is enough for a method that draws nothing.
    """

    def __call__(
        self,
        points: Any,
        labels: Any,
        ratio: float,
        rng: np.random.Generator | None,
        *,
        metric: str = "euclidean",
    ) -> Selection: ...


# A new selector = one file and one line here.
SELECTORS: dict[str, Selector] = {
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
    points: Any,
    labels: Any = None,
    *,
    method: str = "facility_location",
    ratio: float,
    radius: float | None = None,
    metric: str = "euclidean",
    seed: int = 0,
    weights: str | None = None,
    **options: Any,
) -> Selection:
    """A weighted subset of `points`: class by class, in the order in which the method picked.

    points: (n, d) numpy array or torch tensor, or the (n, n) similarity matrix for
      metric="precomputed". Outer products of two vectors each, such as last-layer gradients:
      `selection.OuterProducts`.
    labels: (n,) integers; None: one class.
    method: a key of SELECTORS.
    ratio: share of each class to pick, in (0, 1]; `validation.share` says how it is rounded.
    radius: of the balls that weights="ball" counts in, >= 0, in units of the metric.
    metric: euclidean, sqeuclidean, cosine (1 - cos) or precomputed.
    seed: a whole number >= 0; the same seed gives the same subset.
    weights: "cluster" (points nearest to the pick), "ball" (points of its class within `radius`)
      or "uniform" (ones). None: "ball" where a radius is given, else the method's own, which its
      docstring describes: cluster sizes, but ones for `full` and points within the cover radius for
      `set_cover`.
    options: the method's own. `facility_location`: engine ("auto", "numba", "numpy", "torch" or
      "triton"), algorithm ("auto", "exact", "stochastic" or "partition"), epsilon (of "stochastic",
      in (0, 1)), memory (bytes for one class's matrix); `set_cover`: cover_radius; others: none.

    Raises ValueError naming parameter, rule and value, also for an option that the method does not
    have; MemoryError where algorithm="exact" is asked for and a class is too large for it.

    >>> points = [[0.0], [1.0], [5.0]]  # on a line: one pick stands for the two nearer ones
    >>> picked = select(points, ratio=0.7)
    >>> picked.indices.tolist(), picked.weights.tolist()
    ([1, 2], [2.0, 1.0])
    >>> select(points, labels=[0, 0, 1], ratio=0.5, radius=1.0).weights.tolist()
    [2.0, 1.0]
    """
    # the settings first: the points' own check goes through every value
    check_settings(
        method=method,
        ratio=ratio,
        radius=radius,
        metric=metric,
        seed=seed,
        weights=weights,
        **options,
    )

    # numpy's own defaults, also where the caller has numpy raise what is refused or meant here
    with np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
        points = validation.points(points, metric)
        labels = validation.labels(labels, len(points))
        generator = rng.stream(validation.seed(seed), "select")
        picked = SELECTORS[method](points, labels, ratio, generator, metric=metric, **options)
        return _weighed(picked, points, labels, weights, radius, metric)


def check_settings(
    *,
    method: str = "facility_location",
    ratio: float,
    radius: float | None = None,
    metric: str = "euclidean",
    seed: int = 0,
    weights: str | None = None,
    **options: Any,
) -> None:
    """ValueError for a setting that `select` would refuse whatever the points, as it would say it.

    Whoever selects later, such as `CoresetSampler`, learns of a mistake at once.

    >>> check_settings(method="facility_location", ratio=0.4, epsilon=0.1)
    """
    validation.one_of(method, "method", SELECTORS)
    _check_options(method, options)
    validation.one_of(metric, "metric", validation.METRICS)
    validation.ratio(ratio)
    validation.seed(seed)
    if weights is not None:
        validation.one_of(weights, "weights", validation.WEIGHTS)
    if radius is not None:
        validation.radius(radius)
    if weights == "ball" and radius is None:
        raise ValueError("radius must be given for weights='ball'; got None")


def planned_size(method: str, ratio: float, labels: np.ndarray) -> int:
    """How many points `select` will pick. For `set_cover`, which may not meet it, how many it aims
    at."""
    if method == "full":
        return len(labels)
    if method == "set_cover":
        return validation.nearest_count(ratio, len(labels))
    sizes = np.unique(labels, return_counts=True)[1]
    return sum(validation.count(ratio, size) for size in sizes.tolist())


def _weighed(
    picked: Selection,
    points: Any,
    labels: np.ndarray,
    weights: str | None,
    radius: float | None,
    metric: str,
) -> Selection:
    """The selection with the weights asked for; with its method's own where none are."""
    # a radius alone asks for balls, see `select`
    if weights == "uniform":
        shares = np.ones(len(picked))
    elif weights == "cluster":
        shares = representation.cluster(points, labels, picked.indices, metric=metric)
    elif radius is not None:
        shares = representation.ball(points, labels, picked.indices, radius, metric=metric)
    else:
        return picked
    return dataclasses.replace(picked, weights=shares)


def _check_options(method: str, options: dict[str, Any]) -> None:
    """ValueError for an option that the method does not have, or for its value.

    Its options are in its signature; what depends on the points it checks itself.
    """
    # every method has the metric; what it adds by keyword are its options
    parameters = inspect.signature(SELECTORS[method]).parameters.values()
    available = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "metric"]
    for name, value in options.items():
        if name not in available:
            allowed = ", ".join(available) or "none"
            raise ValueError(f"options of method={method!r} must be among: {allowed}; got {name!r}")
        if name in validation.OPTIONS:
            validation.OPTIONS[name](value)
