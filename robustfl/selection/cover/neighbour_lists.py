"""Who lies within a radius of whom, for a whole set, and the greedy cover by such balls.

There is never an (n, n) matrix. Neighbour lists hold all pairs up to the largest radius asked for,
and serve every smaller one: a bisection computes the distances once. Where balls are so large that
lists would not fit, counts are kept instead: for each newly covered point, the counts of all points
near it are decremented. Every point is covered once, so all that costs O(n^2 d) per radius.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from robustfl import machine
from robustfl.selection.distances import ClassPoints

TILE = 1024  # rows and columns of a tile of the Gram matrix: both factors stay in the cache
MAX_PAIRS = 2**26  # pairs in lists at most: about 1.9 GB while they are built, 1 GB afterwards
PAIR = 30  # bytes of a pair while lists are built or cut down to a smaller radius


class Cover(NamedTuple):
    """A greedy cover by k balls, in the order picked; all (k,) int64."""

    picks: np.ndarray  # centres of the balls
    gains: np.ndarray  # points newly covered by each
    density: np.ndarray  # points within the radius of each


@dataclass(frozen=True)
class NeighbourLists:
    """All pairs of points up to `radius`, in both directions, and each point with itself (CSR).

    The neighbours of point i are other[start[i] : start[i + 1]], and distance says how far.
    """

    radius: float
    start: np.ndarray  # (n + 1,) int64
    other: np.ndarray  # (pairs,) int32
    distance: np.ndarray  # (pairs,) float32

    def within(self, radius: float) -> tuple[np.ndarray, np.ndarray]:
        """(start, other) of the pairs up to a radius that is not larger than the lists' own."""
        keep = self.distance <= np.float32(radius)
        running = np.concatenate([[0], np.cumsum(keep)])
        return running[self.start], self.other[keep]


class Neighbours:
    """The greedy covers of one set of points, at any radius.

    points: (n, d) numpy, or OuterProducts of numpy factors; metric: one of `validation.METRICS`.
    max_pairs: lists of more pairs than that are not built; None: MAX_PAIRS, or what fits into half
      of the memory that is free.

    What is known about a radius is in two attributes. Up to `lists.radius` the pairs are listed;
    from `too_wide` on, lists are known not to fit; between the two nobody has tried.
    """

    def __init__(self, points, metric: str = "euclidean", max_pairs: int | None = None) -> None:
        self.cloud = ClassPoints(points, metric)
        if max_pairs is None:
            max_pairs = min(MAX_PAIRS, machine.free_memory() // (2 * PAIR))
        self.max_pairs = max_pairs
        self.lists: NeighbourLists | None = None
        self.too_wide = math.inf
        self.use_numba = metric != "precomputed" and find_spec("numba") is not None

    def guess(self, rank: int) -> float:
        """The median distance to the rank-th neighbour, from up to 256 points of the set."""
        n = len(self.cloud)
        rank = min(n - 1, rank)
        sample = np.unique(np.linspace(0, n - 1, min(n, 256)).astype(np.int64))
        near = self.cloud.block(sample, slice(None))
        return float(np.median(np.partition(near, rank, axis=1)[:, rank]))

    def cover(self, radius: float) -> Cover:
        """The greedy cover: each step takes the ball with the most uncovered points.

        Ties go to the lower index. Exact, by lists or, where they do not fit, by counts.
        """
        try:
            lists = self._lists_up_to(radius)
            if lists is not None:
                return self._cover_by_lists(lists, radius)
        except MemoryError:
            # another process took what was free, or a limit is not one that can be asked for
            self.lists = None
            self.too_wide = min(self.too_wide, radius)
        return self._cover_by_counts(radius)

    def _cover_by_lists(self, lists: NeighbourLists, radius: float) -> Cover:
        start, other = lists.within(radius)
        if self.use_numba:
            from robustfl.selection.cover import numba_engine

            picks, gains = numba_engine.cover(start, other)
        else:
            picks, gains = cover_lists(start, other)
        return Cover(picks, gains, np.diff(start)[picks])

    def _lists_up_to(self, radius: float) -> NeighbourLists | None:
        """Lists of all pairs within `radius`, built now if need be; None: they do not fit."""
        if self.lists is not None and radius <= self.lists.radius:
            return self.lists
        if radius >= self.too_wide:
            return None
        # the old lists stay where these do not fit: they still serve every radius up to theirs
        built = self._list_by_numba(radius) if self.use_numba else self._list_by_numpy(radius)
        if built is None:
            self.too_wide = radius
        else:
            self.lists = built
        return built

    def _list_by_numba(self, radius: float) -> NeighbourLists | None:
        from robustfl.selection.cover import numba_engine

        n = len(self.cloud)
        most, root, factor = self._limit(radius)
        size = min(self.max_pairs, 16 * n)
        pairs = [np.empty(size, dtype=kind) for kind in (np.int32, np.int32, np.float32)]

        def append(gram: np.ndarray, first: int, left: int, used: int) -> int:
            floor = self.cloud.rounding_floor
            norms = self.cloud.squared_norms
            return numba_engine.close_pairs(
                gram, norms, first, left, floor, most, root, factor, *pairs, used
            )

        used = 0
        for first, left in _tiles(n):
            gram = self.cloud.gram(slice(first, first + TILE), slice(left, left + TILE))
            now = append(gram, first, left, used)
            # the buffers were full: lengthen them and go through the tile again
            while now < 0:
                if size == self.max_pairs:
                    return None
                size = min(self.max_pairs, 2 * size)
                pairs = [_lengthened(part[:used], size) for part in pairs]
                now = append(gram, first, left, used)
            used = now
        return NeighbourLists(radius, *numba_engine.lists(*(part[:used] for part in pairs), n))

    def _list_by_numpy(self, radius: float) -> NeighbourLists | None:
        counts = [np.zeros(1, dtype=np.int64)]
        others: list[np.ndarray] = []
        distances: list[np.ndarray] = []
        total = 0
        for rows, part in self.cloud.blocks():
            at = np.arange(len(part))
            part[at, at + rows.start] = 0  # to itself, free of rounding
            row, column = np.nonzero(part <= np.float32(radius))
            counts.append(np.bincount(row, minlength=len(part)))
            others.append(column.astype(np.int32))
            distances.append(part[row, column])

            # both directions of each pair, and each point with itself
            total += len(row)
            if total > 2 * self.max_pairs + len(self.cloud):
                return None
        start = np.cumsum(np.concatenate(counts))
        return NeighbourLists(radius, start, np.concatenate(others), np.concatenate(distances))

    def _cover_by_counts(self, radius: float) -> Cover:
        n = len(self.cloud)
        density = self._counts(np.arange(n), radius)
        fresh = density.copy()  # (n,) uncovered points within the radius of each point
        covered = np.zeros(n, dtype=bool)
        picks, gains = [], []
        while not covered.all():
            pick = int(fresh.argmax())
            new = np.flatnonzero(self._near(np.array([pick]), radius)[0] & ~covered)
            covered[new] = True
            picks.append(pick)
            gains.append(len(new))
            fresh -= self._counts(new, radius)
        return Cover(np.array(picks), np.array(gains), density[picks])

    def _counts(self, points: np.ndarray, radius: float) -> np.ndarray:
        """(n,) how many of `points` each point is near to."""
        n = len(self.cloud)
        counts = np.zeros(n, dtype=np.int64)
        # numpy makes a whole (piece, n) matrix of distances, so it takes few points at a time
        if not self.use_numba:
            for piece in np.array_split(points, 1 + len(points) * n // 2**21):
                counts += self._near(piece, radius).sum(0, dtype=np.int64)
            return counts

        from robustfl.selection.cover import numba_engine

        most, _, _ = self._limit(radius)
        floor = self.cloud.rounding_floor
        norms = self.cloud.squared_norms
        for piece in (points[i : i + TILE] for i in range(0, len(points), TILE)):
            for part in (slice(j, j + TILE) for j in range(0, n, TILE)):
                gram = self.cloud.gram(piece, part)
                numba_engine.tally(gram, norms[piece], norms[part], floor, most, counts[part])
        return counts

    def _near(self, points: np.ndarray, radius: float) -> np.ndarray:
        """(len(points), n) bool, within the radius; points are near themselves."""
        near = self.cloud.block(points, slice(None)) <= np.float32(radius)
        near[np.arange(len(points)), points] = True
        return near

    def _limit(self, radius: float) -> tuple[float, bool, float]:
        """(largest squared distance within the radius, is the metric its root, else its factor)."""
        from robustfl.selection.cover import numba_engine

        root = self.cloud.metric == "euclidean"
        factor = 0.5 if self.cloud.metric == "cosine" else 1.0
        return numba_engine.limit(np.float32(radius), root, factor), root, factor


def _tiles(n: int) -> Iterator[tuple[int, int]]:
    """(first row, first column) of the tiles on and above the diagonal of an (n, n) matrix."""
    for first in range(0, n, TILE):
        for left in range(first, n, TILE):
            yield first, left


def _lengthened(part: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([part, np.empty(size - len(part), dtype=part.dtype)])


def cover_lists(start: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(picks (k,) int64, newly covered points of each (k,)) of the greedy cover by CSR lists.

    Ties go to the lower index.
    """
    fresh = np.diff(start)  # (n,) uncovered points within the radius of each point
    covered = np.zeros(len(fresh), dtype=bool)
    left = len(fresh)
    picks, gains = [], []
    while left:
        pick = int(fresh.argmax())
        ball = other[start[pick] : start[pick + 1]]
        new = ball[~covered[ball]]
        covered[new] = True
        left -= len(new)
        picks.append(pick)
        gains.append(len(new))
        # whoever has a newly covered point in his ball has one fresh point less
        for point in new:
            fresh[other[start[point] : start[point + 1]]] -= 1
    return np.array(picks, dtype=np.int64), np.array(gains, dtype=np.int64)
