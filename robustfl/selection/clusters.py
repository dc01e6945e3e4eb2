"""Which pick stands for which point: the nearest one of the point's own class."""

from __future__ import annotations

import numpy as np

from robustfl.selection.arrays import to_numpy
from robustfl.selection.distances import ClassPoints, by_class, rows_of_class


def owners(cloud: ClassPoints, picks: np.ndarray) -> np.ndarray:
    """(m,) position in `picks` of the pick nearest to each point of a class; O(m k d).

    A pick belongs to its own cluster; between equally near picks the one at the lowest position
    wins.
    """
    nearest = np.concatenate([to_numpy(part.argmin(1)) for _, part in cloud.blocks(picks)])
    # of duplicates among the picks, each is its own
    nearest[picks] = np.arange(len(picks))
    return nearest


def sizes(cloud: ClassPoints, picks: np.ndarray) -> np.ndarray:
    """(k,) float64 number of points in each pick's cluster; they sum to the size of the class."""
    return np.bincount(owners(cloud, picks), minlength=len(picks)).astype(np.float64)


def assign(
    points, labels: np.ndarray, indices: np.ndarray, metric: str = "euclidean"
) -> np.ndarray:
    """(n,) int64 position in `indices` of the nearest pick of the point's class.

    It is -1 for the points of a class without a pick.
    """
    position = np.full(len(labels), -1, dtype=np.int64)
    position[indices] = np.arange(len(indices))

    owner = np.full(len(labels), -1, dtype=np.int64)
    for _, where in by_class(labels):
        picks = np.flatnonzero(position[where] >= 0)
        if not len(picks):
            continue
        # in the order of `indices`, so that ties go to the lowest position there
        picks = picks[np.argsort(position[where[picks]])]
        cloud = ClassPoints(rows_of_class(points, where, metric), metric)
        owner[where] = position[where[picks]][owners(cloud, picks)]
    return owner
