"""Selection class by class: check the input, split it, let the method pick, weigh and join.

A method that uses `select` is the definition of its picks and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from robustfl.selection import clusters, validation
from robustfl.selection.distances import ClassPoints, by_class, rows_of_class
from robustfl.selection.result import Selection, join


@dataclass(frozen=True)
class Members:
    """One class of m points, and how many of them the method is to pick.

    points: (m, d), or OuterProducts, as the caller gave them; cloud: the same, ready for distances.
    """

    points: Any
    cloud: ClassPoints
    k: int


# (picks (k,) positions in the class, in order, and gains (k,)) of one class
Pick = Callable[[Members], tuple[np.ndarray, np.ndarray]]


def check(points, labels, ratio: float, metric: str) -> tuple[Any, np.ndarray, float]:
    """(points, labels, ratio) as `select` describes them. ValueError names what is wrong."""
    points = validation.points(points, metric)
    return points, validation.labels(labels, len(points)), validation.ratio(ratio)


def weigh(
    where: np.ndarray, cloud: ClassPoints, picks: np.ndarray, gains: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(indices, weights, gains) of one class, for `join`; the weights are cluster sizes.

    where: (m,) positions of the class in the whole set; picks: (k,) positions in the class.
    """
    return where[picks], clusters.sizes(cloud, picks), gains


def select(points, labels, ratio: float, metric: str, pick: Pick) -> Selection:
    """The picks of each class, in the order of `pick`; weights: cluster sizes.

    points: (n, d) array or tensor, or OuterProducts, or the (n, n) similarities for "precomputed";
    labels: (n,) integers, or None for one class; ratio: share of each class in (0, 1].
    O(m k d) per class of m points for the weights, and what `pick` costs.
    Raises ValueError for points that are not finite or whose distances exceed float32, labels that
    are not n integers, a ratio outside (0, 1], or an unknown metric.
    """
    points, labels, ratio = check(points, labels, ratio, metric)
    parts = []
    for _, where in by_class(labels):
        rows = rows_of_class(points, where, metric)
        cloud = ClassPoints(rows, metric)
        picks, gains = pick(Members(rows, cloud, validation.count(ratio, len(where))))
        parts.append(weigh(where, cloud, picks, gains))
    return join(parts)
