"""What a selected point stands for: cluster sizes, ball counts, and the value of a selection, class by class."""

from __future__ import annotations

import dataclasses

import numpy as np

from robustfl.selection import clusters, validation
from robustfl.selection.distances import ClassPoints, by_class, rows_of_class
from robustfl.selection.result import Selection

UNITS = ("absolute", "median")
SAMPLE = 1024  # points of a class that the median distance looks at


def _checked(points, labels, indices, metric):
    points = validation.points(points, metric)
    return points, validation.labels(labels, len(points)), validation.indices(indices, len(points))


def _clouds(points, labels, indices, metric):
    """(where (m,), cloud, picks (p,) positions in the class, slots (p,) their positions in indices) of each class."""
    position = np.full(len(labels), -1, dtype=np.int64)
    position[indices] = np.arange(len(indices))
    for _, where in by_class(labels):
        slots = np.sort(position[where][position[where] >= 0])
        picks = np.searchsorted(where, indices[slots])
        yield where, ClassPoints(rows_of_class(points, where, metric), metric), picks, slots


def assign(points, labels, indices, metric: str = "euclidean") -> np.ndarray:
    """(n,) int64 position in `indices` of the nearest pick of each point's own class; -1 for a class without picks.

    A pick belongs to its own cluster; between equally near picks the one at the lowest position wins.
    points: (n, d); labels: (n,) or None; indices: (k,) unique. O(n k d) per class. ValueError as `checks` says.
    """
    return clusters.assign(*_checked(points, labels, indices, metric), metric)


def cluster(points, labels, indices, metric: str = "euclidean") -> np.ndarray:
    """(k,) float64 number of points that `assign` gives to each pick."""
    owner = assign(points, labels, indices, metric)
    return np.bincount(owner[owner >= 0], minlength=len(indices)).astype(np.float64)


def ball(
    points, labels, indices, radius: float, unit: str = "absolute", metric: str = "euclidean"
) -> np.ndarray:
    """(k,) float64 number of points of the pick's class within `radius` of it (inclusive), itself included.

    unit: "absolute" (units of the metric) or "median" (multiples of the class's median pairwise distance, see
    `median_distance`). points: (n, d); labels: (n,) or None; indices: (k,). O(n_c k_c d) per class c. ValueError as `checks` says.
    """
    validation.radius(radius), validation.one_of(unit, "unit", UNITS)
    points, labels, indices = _checked(points, labels, indices, metric)
    counts = np.zeros(len(indices))
    for _, cloud, picks, slots in _clouds(points, labels, indices, metric):
        limit = np.float32(radius * (_median(cloud) if unit == "median" and len(picks) else 1.0))
        for rows, near in _near(cloud, picks, float(limit)):
            counts[slots] += near.sum(0)
    return counts


def within_ball(
    points, labels, indices, radius: float, unit: str = "absolute", metric: str = "euclidean"
) -> np.ndarray:
    """(n,) bool: is the point within `radius` of at least one pick of its class? Arguments and errors as for `ball`."""
    validation.radius(radius), validation.one_of(unit, "unit", UNITS)
    points, labels, indices = _checked(points, labels, indices, metric)
    inside = np.zeros(len(labels), dtype=bool)
    for where, cloud, picks, _ in _clouds(points, labels, indices, metric):
        limit = np.float32(radius * (_median(cloud) if unit == "median" and len(picks) else 1.0))
        for rows, near in _near(cloud, picks, float(limit)):
            inside[where[rows]] = near.any(1)
    return inside


def _near(cloud: ClassPoints, picks: np.ndarray, limit: float):
    """(rows, (rows, p) bool within `limit` of each pick), in blocks; a pick is always near itself."""
    column = np.full(len(cloud), -1, dtype=np.int64)
    column[picks] = np.arange(len(picks))
    for rows, part in cloud.blocks(picks) if len(picks) else ():
        near = clusters.host(part <= limit)
        own = np.flatnonzero(column[rows] >= 0)
        near[own, column[rows][own]] = True
        yield rows, near


def _median(cloud: ClassPoints) -> float:
    m = len(cloud)
    if m == 1:
        return 0.0
    sample = np.unique(np.linspace(0, m - 1, min(m, SAMPLE)).astype(np.int64))
    part = clusters.host(cloud.block(sample, sample))
    return float(np.median(part[np.triu_indices(len(sample), 1)]))


def median_distance(points, labels=None, metric: str = "euclidean") -> dict[int, float]:
    """Label -> median distance between two different points of the class; 0 for a class of one point.

    Exact up to SAMPLE points; above, on SAMPLE points spread evenly over the class's positions.
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
    """Each pick replaced by a point drawn uniformly from its cluster (itself included); order, weights, gains kept.

    Clusters do not overlap, so the indices stay unique. ValueError as `checks` says.
    """
    validation.generator(rng)
    owner = assign(points, labels, selection.indices, metric)
    order = np.argsort(owner, kind="stable")
    counts = np.bincount(owner[owner >= 0], minlength=len(selection.indices))
    first = np.searchsorted(owner[order], np.arange(len(counts)))
    return dataclasses.replace(selection, indices=order[first + rng.integers(counts)])


def facility_value(points, labels, indices, metric: str = "euclidean") -> tuple[float, float]:
    """(F(S), F(all)) summed over classes, F(S) = sum_i max_{j in S} (c - d_ij), c the largest distance in the class.

    A class without a pick adds 0 to F(S). Float64 sums of float32 distances. O(n_c^2 d) per class. ValueError as `checks` says.
    """
    value = whole = 0.0
    for _, cloud, picks, _ in _clouds(*_checked(points, labels, indices, metric), metric):
        own_value, own_whole = _class_value(cloud, picks)
        value, whole = value + own_value, whole + own_whole
    return value, whole


def _class_value(cloud: ClassPoints, picks: np.ndarray) -> tuple[float, float]:
    top, nearest, own = 0.0, np.empty(len(cloud)), np.empty(len(cloud))
    for rows, part in cloud.blocks():
        on_host = isinstance(
            part, np.ndarray
        )  # else only what is left of each row comes to the host
        if cloud.metric != "precomputed":  # to itself, free of rounding
            np.fill_diagonal(part[:, rows], 0) if on_host else part[:, rows].fill_diagonal_(0)
        top = max(top, float(part.max()))
        own[rows] = part.min(1) if on_host else clusters.host(part.amin(1))
        if len(picks):
            nearest[rows] = (
                part[:, picks].min(1) if on_host else clusters.host(part[:, picks].amin(1))
            )
    return float((top - nearest).sum()) if len(picks) else 0.0, float((top - own).sum())
