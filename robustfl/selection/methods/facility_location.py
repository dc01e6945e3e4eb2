"""Greedy facility location, class by class: exact, stochastic, or by parts.

F(S) = sum_i max_{j in S} (c - d_ij) over the points i of a class, c the largest distance within the class.
Nemhauser, Wolsey and Fisher, "An analysis of approximations for maximizing submodular set functions", 1978: the greedy
set is worth at least 1 - 1/e of the best set of its size. Mirzasoleiman, Bilmes and Leskovec, "Coresets for
data-efficient training of machine learning models", ICML 2020, use it on gradients.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from robustfl.selection import clusters, validation
from robustfl.selection.distances import ClassPoints, by_class, rows_of_class
from robustfl.selection.greedy import dispatch, greedi, stochastic
from robustfl.selection.result import Selection, join

ALGORITHMS = ("exact", "stochastic", "partition")


def select(
    points,
    labels,
    ratio: float,
    rng: np.random.Generator,
    *,
    metric: str = "euclidean",
    engine: str = "auto",
    algorithm: str = "auto",
    epsilon: float = 0.1,
    memory: int | None = None,
) -> Selection:
    """Greedy picks of each class, in greedy order; weights: cluster sizes; gains: F gained at each pick.

    points: (n, d) array or tensor, or OuterProducts; labels: (n,) or None. Ties go to the larger
      gain, then to the lower index.
    algorithm: "exact": distances on a grid of 20 or 21 bits (`grid`), greedy without further approximation, deterministic;
      MemoryError where a class does not fit. O(m^2 d) + O(m^2 log m) typically, 4 m^2 bytes per class of m points (numba).
      "stochastic": (1 - 1/e - epsilon) in expectation, O(m) memory a candidate (`stochastic`). "partition": `partition`.
      "auto": exact, and by parts, with a UserWarning, for a class whose matrix exceeds the limit.
    memory: that limit in bytes for one class; None: half of what is free.
    engine: see `engines`; rng is used by "stochastic" and "partition" alone. Raises ValueError as `checks` says.
    """
    points, labels = validation.points(points, metric), validation.labels(labels, len(points))
    ratio, engine = validation.ratio(ratio), dispatch.resolve(engine, points)
    validation.one_of(algorithm, "algorithm", ("auto", *ALGORITHMS))
    if not 0 < epsilon < 1:
        raise ValueError(f"epsilon must be in (0, 1); got {epsilon!r}")
    points = dispatch.place(points, engine)
    each = dispatch.entry(engine, metric, points)
    largest = _largest(memory, each, engine, points)
    groups = [where for _, where in by_class(labels)]
    wanted = [validation.count(ratio, len(where)) for where in groups]
    kinds = [_kind(algorithm, len(where), largest, each) for where in groups]
    clouds = [ClassPoints(rows_of_class(points, where, metric), metric) for where in groups]
    whole = [c for c, kind in enumerate(kinds) if kind == "exact"]
    found = dict(
        zip(
            whole,
            dispatch.exact([clouds[c] for c in whole], [wanted[c] for c in whole], engine)
            if whole
            else (),
        )
    )
    for c, kind in enumerate(kinds):
        if kind == "stochastic":
            found[c] = stochastic.greedy(clouds[c], wanted[c], epsilon, validation.generator(rng))
        elif kind == "partition":
            own = rows_of_class(points, groups[c], metric)
            found[c] = greedi.greedy(
                own, wanted[c], min(largest, len(own)), metric, engine, validation.generator(rng)
            )
    return join(
        [
            (where[found[c][0]], clusters.sizes(clouds[c], found[c][0]), found[c][1])
            for c, where in enumerate(groups)
        ]
    )


def _largest(memory: int | None, each: int, engine: str, points) -> int:
    """Points of the largest class whose matrix, of so many bytes an entry, fits."""
    if memory is not None and memory < each:
        raise ValueError(
            f"memory must be at least {each} bytes for engine={engine!r}; got {memory!r}"
        )
    return math.isqrt(
        int((dispatch.free(engine, points) // 2 if memory is None else memory) // each)
    )


def _kind(algorithm: str, m: int, largest: int, each: int) -> str:
    """What is done with a class of m points."""
    need = each * m * m
    if algorithm == "exact" and m > largest:
        raise MemoryError(
            f"points of a class must be at most {largest} for algorithm='exact' in the memory allowed; got {m} ({need:,} bytes)"
        )
    if algorithm == "auto" and m > largest:
        warnings.warn(
            f"facility_location: a class of {m} points needs {need:,} bytes; selecting by parts of {largest}",
            stacklevel=3,
        )
        return "partition"
    return "exact" if algorithm == "auto" else algorithm
