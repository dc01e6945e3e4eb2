"""Who lies within a radius of whom, for a whole set, and the greedy cover by such balls; never an (n, n) matrix.

Neighbour lists hold all pairs up to the largest radius asked for, and serve every smaller one: a bisection computes the
distances once. Where balls are so large that lists would not fit, counts are kept instead: when a ball covers new points,
their distances to all others say which counts fall. Every point is covered once, so all that costs O(n^2 d) a radius.
"""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np

from robustfl.selection.distances import ClassPoints

TILE = 1024  # rows and columns of a tile of the Gram matrix: both factors stay in the cache, whatever n
LISTED = 2**26  # pairs kept as lists at most: about 1.9 GB while they are built, 1 GB afterwards


class Neighbours:
    """The greedy covers of one set of points, at any radius.

    points: (n, d) numpy, or OuterProducts of numpy factors; metric: see `checks.METRICS`.
    """

    def __init__(self, points, metric: str = "euclidean", listed: int = LISTED) -> None:
        self.cloud = ClassPoints(points, metric)
        self.listed = listed
        self.reach, self.crowded = (
            -1.0,
            math.inf,
        )  # lists hold all pairs up to `reach`; they do not fit from `crowded` on
        self.start = self.other = self.distance = None
        self.compiled = metric != "precomputed" and find_spec("numba") is not None

    def guess(self, rank: int) -> float:
        """The median distance to the rank-th neighbour, from up to 256 points of the set."""
        n = len(self.cloud)
        sample = np.unique(np.linspace(0, n - 1, min(n, 256)).astype(np.int64))
        near = self.cloud.block(sample, slice(None))
        return float(np.median(np.partition(near, min(n - 1, rank), axis=1)[:, min(n - 1, rank)]))

    def cover(self, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Greedy cover: picks (k,) int64, the points each newly covers, and the points within the radius of each.

        Each step takes the ball with the most uncovered points; ties to the lower index. Exact.
        """
        lists = self._within(radius)
        if lists is None:
            return self._cover_counts(radius)
        if self.compiled:
            from robustfl.selection.cover import numba_engine

            picks, gains = numba_engine.cover(*lists)
        else:
            picks, gains = cover_lists(*lists)
        return picks, gains, np.diff(lists[0])[picks]

    def _within(self, radius: float) -> tuple[np.ndarray, np.ndarray] | None:
        """CSR lists (start (n + 1,), other) of the points within `radius`, each its own neighbour; None: they do not fit."""
        if self.reach < radius < self.crowded:
            built = (
                self._list_compiled(np.float32(radius))
                if self.compiled
                else self._list(np.float32(radius))
            )
            if built is None:
                self.crowded = radius
            else:
                self.reach, (self.start, self.other, self.distance) = radius, built
        if radius > self.reach:
            return None
        keep = self.distance <= np.float32(radius)
        running = np.concatenate([[0], np.cumsum(keep)])
        return running[self.start], self.other[keep]

    def _most(self, radius: float) -> tuple[float, bool, float]:
        """(largest squared distance within the radius, is the metric its root, else its multiple by)."""
        from robustfl.selection.cover import numba_engine

        root, factor = (
            self.cloud.metric == "euclidean",
            0.5 if self.cloud.metric == "cosine" else 1.0,
        )
        return numba_engine.limit(np.float32(radius), root, factor), root, factor

    def _list_compiled(self, radius: np.float32):
        from robustfl.selection.cover import numba_engine

        cloud, n = self.cloud, len(self.cloud)
        fixed = (cloud.rounding_floor, *self._most(radius))
        size, used = min(self.listed, 16 * n), 0
        pairs = [np.empty(size, dtype=kind) for kind in (np.int32, np.int32, np.float32)]
        for first, left in ((i, j) for i in range(0, n, TILE) for j in range(i, n, TILE)):
            gram = cloud.gram(slice(first, first + TILE), slice(left, left + TILE))
            while (
                now := numba_engine.close_pairs(
                    gram, cloud.squared_norms, first, left, *fixed, *pairs, used
                )
            ) < 0:
                if size == self.listed:
                    return None
                size = min(self.listed, 2 * size)
                pairs = [
                    np.concatenate([part[:used], np.empty(size - used, dtype=part.dtype)])
                    for part in pairs
                ]
            used = now
        return numba_engine.lists(*(part[:used] for part in pairs), n)

    def _list(self, radius: np.float32):
        counts, others, distances, total = [np.zeros(1, dtype=np.int64)], [], [], 0
        for rows, part in self.cloud.blocks():
            at = np.arange(len(part))
            part[at, at + rows.start] = 0  # itself, free of rounding
            near = part <= float(radius)
            row, column = np.nonzero(near)
            counts.append(np.bincount(row, minlength=len(part)))
            others.append(column.astype(np.int32))
            distances.append(part[row, column])
            total += len(row)
            if total > 2 * self.listed + len(self.cloud):
                return None
        return np.cumsum(np.concatenate(counts)), np.concatenate(others), np.concatenate(distances)

    def _near(self, points: np.ndarray, radius: float) -> np.ndarray:
        """(len(points), n) bool, within the radius; points are near themselves."""
        found = self.cloud.block(points, slice(None)) <= float(np.float32(radius))
        found[np.arange(len(points)), points] = True
        return found

    def _counts(self, points: np.ndarray, radius: float) -> np.ndarray:
        """(n,) how many of `points` each point is near to."""
        cloud, counts = self.cloud, np.zeros(len(self.cloud), dtype=np.int64)
        if self.compiled:
            from robustfl.selection.cover import numba_engine

            most = self._most(radius)[0]
            for piece in (points[i : i + TILE] for i in range(0, len(points), TILE)):
                for part in (slice(j, j + TILE) for j in range(0, len(counts), TILE)):
                    gram = cloud.gram(piece, part)
                    mine, theirs = cloud.squared_norms[piece], cloud.squared_norms[part]
                    numba_engine.tally(gram, mine, theirs, cloud.rounding_floor, most, counts[part])
        else:
            for piece in np.array_split(points, 1 + len(points) * len(counts) // 2**21):
                counts += self._near(piece, radius).sum(0, dtype=np.int64)
        return counts

    def _cover_counts(self, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n = len(self.cloud)
        fresh = self._counts(np.arange(n), radius)
        density, covered, picks, gains = fresh.copy(), np.zeros(n, dtype=bool), [], []
        while not covered.all():
            pick = int(fresh.argmax())
            new = np.flatnonzero(self._near(np.array([pick]), radius)[0] & ~covered)
            covered[new] = True
            picks.append(pick), gains.append(len(new))
            fresh -= self._counts(new, radius)
        return np.array(picks), np.array(gains), density[picks]


def cover_lists(start: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Greedy cover by CSR lists: picks (k,) int64 and newly covered points of each (k,); ties to the lower index."""
    fresh = np.diff(start)  # (n,) uncovered points within the radius of each point
    covered, left, picks, gains = np.zeros(len(fresh), dtype=bool), len(fresh), [], []
    while left:
        pick = int(fresh.argmax())
        ball = other[start[pick] : start[pick + 1]]
        new = ball[~covered[ball]]
        covered[new] = True
        left -= len(new)
        picks.append(pick), gains.append(len(new))
        for point in new:
            fresh[other[start[point] : start[point + 1]]] -= 1
    return np.array(picks, dtype=np.int64), np.array(gains, dtype=np.int64)
