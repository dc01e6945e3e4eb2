"""What a selected point stands for: cluster sizes, ball counts, and the value of a selection.

All are counted class by class. Unless a docstring says otherwise, points: (n, d) array or tensor,
or OuterProducts, or (n, n) similarities for "precomputed"; labels: (n,) integers, or None for one
class; indices: (k,) unique positions in range(n). Each function raises ValueError for points that
are not finite or whose distances exceed float32, for labels that are not n integers, for indices
that are repeated or out of range, and for an unknown metric.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from robustfl.selection import clusters, validation
from robustfl.selection.arrays import clear_diagonal, row_min, to_numpy
from robustfl.selection.distances import ClassPoints, by_class, rows_of_class
from robustfl.selection.result import Selection

UNITS = ("absolute", "median")
SAMPLE = 1024  # points of a class that the median distance looks at


class PickedClass(NamedTuple):
    """One class of m points and the p picks that lie in it."""

    where: np.ndarray  # (m,) positions of the class in the whole set
    cloud: ClassPoints
    picks: np.ndarray  # (p,) positions in the class
    slots: np.ndarray  # (p,) positions in `indices`


def _checked(points, labels, indices, metric: str) -> tuple[Any, np.ndarray, np.ndarray]:
    points = validation.points(points, metric)
    return points, validation.labels(labels, len(points)), validation.indices(indices, len(points))


def _picked_classes(points, labels, indices, metric: str) -> Iterator[PickedClass]:
    position = np.full(len(labels), -1, dtype=np.int64)
    position[indices] = np.arange(len(indices))
    for _, where in by_class(labels):
        # in the order of `indices`, whatever the order of the positions
        slots = np.sort(position[where][position[where] >= 0])
        picks = np.searchsorted(where, indices[slots])
        cloud = ClassPoints(rows_of_class(points, where, metric), metric)
        yield PickedClass(where, cloud, picks, slots)


def assign(points, labels, indices, metric: str = "euclidean") -> np.ndarray:
    """(n,) int64 position in `indices` of the nearest pick of each point's own class.

    It is -1 for a class without picks. A pick belongs to its own cluster; between equally near
    picks the one at the lowest position wins. O(n k d) per class.
    """
    points, labels, indices = _checked(points, labels, indices, metric)
    return clusters.assign(points, labels, indices, metric)


def cluster(points, labels, indices, metric: str = "euclidean") -> np.ndarray:
    """(k,) float64 number of points that `assign` gives to each pick."""
    owner = assign(points, labels, indices, metric)
    return np.bincount(owner[owner >= 0], minlength=len(indices)).astype(np.float64)


def ball(
    points, labels, indices, radius: float, unit: str = "absolute", metric: str = "euclidean"
) -> np.ndarray:
    """(k,) float64 number of points of the pick's class within `radius` of it, itself included.

    The ball is closed. unit: "absolute" (units of the metric) or "median" (multiples of the class's
    median pairwise distance, see `median_distance`). O(n_c k_c d) per class c.
    Raises ValueError also for a radius that is negative or not finite, and an unknown unit.
    """
    radius = validation.radius(radius)
    validation.one_of(unit, "unit", UNITS)
    points, labels, indices = _checked(points, labels, indices, metric)
    counts = np.zeros(len(indices))
    for members in _picked_classes(points, labels, indices, metric):
        for _, near in _near(members, _limit(members, radius, unit)):
            counts[members.slots] += near.sum(0)
    return counts


def within_ball(
    points, labels, indices, radius: float, unit: str = "absolute", metric: str = "euclidean"
) -> np.ndarray:
    """(n,) bool: is the point within `radius` of at least one pick of its class?

    Arguments and errors are those of `ball`.
    """
    radius = validation.radius(radius)
    validation.one_of(unit, "unit", UNITS)
    points, labels, indices = _checked(points, labels, indices, metric)
    inside = np.zeros(len(labels), dtype=bool)
    for members in _picked_classes(points, labels, indices, metric):
        for rows, near in _near(members, _limit(members, radius, unit)):
            inside[members.where[rows]] = near.any(1)
    return inside


def _limit(members: PickedClass, radius: float, unit: str) -> float:
    """The radius in units of the metric, rounded to float32 as the distances are."""
    # without picks nobody asks for the limit, and the median would cost a block of distances
    median = _median(members.cloud) if unit == "median" and len(members.picks) else 1.0
    # no distance is larger than float32 holds
    return float(np.float32(min(radius * median, validation.FLOAT32)))


def _near(members: PickedClass, limit: float) -> Iterator[tuple[slice, np.ndarray]]:
    """(rows, (rows, p) bool within `limit` of each pick), in blocks; a pick is near itself."""
    if not len(members.picks):
        return
    # which column a point has as a pick: there the distance is 0, whatever rounding makes of it
    column = np.full(len(members.cloud), -1, dtype=np.int64)
    column[members.picks] = np.arange(len(members.picks))
    for rows, part in members.cloud.blocks(members.picks):
        near = to_numpy(part <= limit)
        picked = np.flatnonzero(column[rows] >= 0)
        near[picked, column[rows][picked]] = True
        yield rows, near


def _median(cloud: ClassPoints) -> float:
    m = len(cloud)
    if m == 1:
        return 0.0
    sample = np.unique(np.linspace(0, m - 1, min(m, SAMPLE)).astype(np.int64))
    part = to_numpy(cloud.block(sample, sample))
    return float(np.median(part[np.triu_indices(len(sample), 1)]))


def median_distance(points, labels=None, metric: str = "euclidean") -> dict[int, float]:
    """Label -> median distance between two different points of the class; 0 for a single point.

    Exact for up to SAMPLE points; larger classes are measured on SAMPLE evenly spaced ones.
    """
    points = validation.points(points, metric)
    labels = validation.labels(labels, len(points))
    return {
        name: _median(ClassPoints(rows_of_class(points, where, metric), metric))
        for name, where in by_class(labels)
    }


def sample_representatives(
    points, labels, selection: Selection, rng: np.random.Generator, metric: str = "euclidean"
) -> Selection:
    """Each pick replaced by a point drawn uniformly from its cluster, itself included.

    Order, weights and gains are kept. Clusters do not overlap, so the indices stay unique.
    Raises ValueError also for an rng that is no numpy Generator.
    """
    validation.generator(rng)
    owner = assign(points, labels, selection.indices, metric)
    # the points cluster by cluster; those of classes without picks, at -1, come first
    order = np.argsort(owner, kind="stable")
    counts = np.bincount(owner[owner >= 0], minlength=len(selection.indices))
    first = np.searchsorted(owner[order], np.arange(len(counts)))
    return dataclasses.replace(selection, indices=order[first + rng.integers(counts)])


def facility_value(points, labels, indices, metric: str = "euclidean") -> tuple[float, float]:
    """(F(S), F(all)) summed over classes, F(S) = sum_i max_{j in S} (c - d_ij).

    c is the largest distance in the class. A class without a pick adds 0 to F(S). Float64 sums of
    float32 distances. O(n_c^2 d) per class c.
    """
    points, labels, indices = _checked(points, labels, indices, metric)
    value = whole = 0.0
    for members in _picked_classes(points, labels, indices, metric):
        class_value, class_whole = _class_value(members.cloud, members.picks)
        value += class_value
        whole += class_whole
    return value, whole


def _class_value(cloud: ClassPoints, picks: np.ndarray) -> tuple[float, float]:
    """(F(picks), F(all)) of one class; of each row of distances only its minima come to the CPU."""
    top = 0.0
    # (m,) distance to the nearest pick, and to the nearest point of the class, itself included
    nearest = np.empty(len(cloud))
    nearest_of_all = np.empty(len(cloud))
    for rows, part in cloud.blocks():
        if cloud.metric != "precomputed":
            clear_diagonal(part[:, rows])  # to itself, free of rounding
        top = max(top, float(part.max()))
        nearest_of_all[rows] = to_numpy(row_min(part))
        if len(picks):
            nearest[rows] = to_numpy(row_min(part[:, picks]))
    return float((top - nearest).sum()) if len(picks) else 0.0, float((top - nearest_of_all).sum())
