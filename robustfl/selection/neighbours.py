"""Who lies within a radius of whom, for a whole set, and the greedy cover by such balls; never an (n, n) matrix."""

from __future__ import annotations

import math

import numpy as np

from robustfl.selection.clusters import host
from robustfl.selection.distances import Cloud

LISTED = 2**27  # neighbour pairs kept in memory: 8 bytes each, 1 GiB


class Neighbours:
    """Neighbour lists up to the largest radius asked for so far, reused for every smaller one."""

    def __init__(self, points, metric: str = "euclidean") -> None:
        self.cloud = Cloud(points, metric)
        self.reach = -1.0  # the lists hold all pairs up to this distance
        self.start = self.other = self.distance = None

    def guess(self, wanted: int) -> float:
        """A radius to start a bisection at: the median distance to the (n / wanted)-th neighbour, on up to 256 points."""
        n = len(self.cloud)
        sample = np.unique(np.linspace(0, n - 1, min(n, 256)).astype(np.int64))
        near = np.sort(host(self.cloud.block(sample, slice(None))), axis=1)
        return float(np.median(near[:, min(n - 1, math.ceil(n / wanted))]))

    def within(self, radius: float) -> tuple[np.ndarray, np.ndarray]:
        """CSR lists (start (n + 1,) int64, other (pairs,) int32) of all points within `radius`, each its own neighbour."""
        if radius > self.reach:
            self._list(radius)
        keep = self.distance <= np.float32(radius)
        running = np.concatenate([[0], np.cumsum(keep)])
        return running[self.start], self.other[keep]

    def _list(self, radius: float) -> None:
        counts, others, distances = [np.zeros(1, dtype=np.int64)], [], []
        for rows, part in self.cloud.blocks():
            part = host(part)
            part[np.arange(len(part)), np.arange(rows.start, rows.stop)] = 0  # itself, free of rounding
            row, column = np.nonzero(part <= np.float32(radius))
            counts.append(np.bincount(row, minlength=len(part)))
            others.append(column.astype(np.int32))
            distances.append(part[row, column])
        self.start = np.cumsum(np.concatenate(counts))
        self.other, self.distance, self.reach = np.concatenate(others), np.concatenate(distances), radius

    def density(self, picks: np.ndarray, radius: float) -> np.ndarray:
        """(k,) number of points within `radius` of each pick, itself included."""
        return np.diff(self.within(radius)[0])[picks]

    def cover(self, radius: float) -> tuple[np.ndarray, np.ndarray]:
        """Greedy cover: picks (k,) int64 and the number of points each newly covers; ties to the lower index."""
        start, other = self.within(radius)
        fresh = np.diff(start)  # (n,) uncovered points within the radius of each point
        covered, left, picks, gains = np.zeros(len(fresh), dtype=bool), len(fresh), [], []
        while left:
            pick = int(fresh.argmax())
            ball = other[start[pick] : start[pick + 1]]
            new = ball[~covered[ball]]
            covered[new] = True
            left -= len(new)
            picks.append(pick)
            gains.append(len(new))
            for point in new:
                fresh[other[start[point] : start[point + 1]]] -= 1
        return np.array(picks, dtype=np.int64), np.array(gains, dtype=np.int64)
