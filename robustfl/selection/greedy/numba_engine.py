"""Exact greedy facility location, compiled for one CPU core.

It makes the same picks as `numpy_engine`, some fifty times faster. The matrix is symmetric, so that
all inner loops run along rows. After a pick only the rows i whose best_i rose change the gains;
about n log n such rows are subtracted in a whole run, eight at a time. Similarities are integers
below 2**21 (`fixed_point`), so the sum of eight fits 32 bits and the total is exact in 64: no
drift, in any order. Compiled code is kept on disk (`numba_cache`): the first call ever takes
seconds, the first of a process a fraction of one.
"""

from __future__ import annotations

import numpy as np

from robustfl.selection.distances import ClassPoints
from robustfl.selection.greedy import fixed_point
from robustfl.selection.numba_cache import njit

TILE = 256  # columns filled before they are mirrored, while they are still in the cache


@njit()
def _fill(gram, square, first, floor, root, factor, inverse, top, S):
    """Rows `first`... of S, and their mirror image, from the upper triangle of `gram`.

    gram: (rows, m - first) float64. S_ij = top - round(d_ij / step); the diagonal is `top`.
    The order of operations is that of `ClassPoints.block`.
    """
    rows, width = gram.shape
    square = square[first:]
    for start in range(0, width, TILE):
        end = min(start + TILE, width)
        for i in range(min(rows, end)):
            line = gram[i]
            row_square = square[i]
            target = S[first + i][first:]
            # the metric is chosen out here, so that the inner loop has no branch on it
            if root:
                for j in range(max(start, i + 1), end):
                    norm = row_square + square[j]
                    value = -2.0 * line[j] + norm
                    value = value if value > norm * floor else 0.0
                    target[j] = top - np.int32(np.rint(np.float32(np.sqrt(value)) * inverse))
            else:
                for j in range(max(start, i + 1), end):
                    norm = row_square + square[j]
                    value = -2.0 * line[j] + norm
                    value = value if value > norm * floor else 0.0
                    target[j] = top - np.int32(np.rint(np.float32(value * factor) * inverse))
        # mirror the tile while it is still in the cache
        for j in range(start, end):
            target = S[first + j]
            column = S[first:, first + j]
            for i in range(min(rows, j)):
                target[first + i] = column[i]
    for i in range(rows):
        S[first + i, first + i] = top


def similarity(cloud: ClassPoints, buffer: np.ndarray) -> tuple[np.ndarray, float]:
    """(S (m, m) int32, step) of a class, as `fixed_point.similarity` gives it, inside `buffer`.

    buffer: int32, at least m * m entries; S is a view of it, and no other (m, m) array is made.
    O(m^2 d).
    """
    m = len(cloud)
    S = buffer[: m * m].reshape(m, m)
    if cloud.metric == "precomputed":
        S[:], step = fixed_point.similarity(cloud.matrix(), cloud.max_distance)
        return S, step
    step, top = fixed_point.quantum(cloud.max_distance)
    root = cloud.metric == "euclidean"
    factor = 0.5 if cloud.metric == "cosine" else 1.0
    inverse = np.float32(1 / step)
    for rows in cloud.slices(m):
        gram = cloud.gram(rows, slice(rows.start, None))
        _fill(
            gram,
            cloud.squared_norms,
            rows.start,
            cloud.rounding_floor,
            root,
            factor,
            inverse,
            np.int32(top),
            S,
        )
    return S, step


@njit()
def _subtract(S, rows, old, new, count, gain):
    """gain[j] -= sum over the first `count` rows i of max(S_ij - old_i, 0) - max(S_ij - new_i, 0).

    That difference is S_ij clipped to [old_i, new_i], less old_i.
    """
    # eight rows at a time: one pass over the gains instead of eight
    t = 0
    while t + 8 <= count:
        a, b, c, d = S[rows[t]], S[rows[t + 1]], S[rows[t + 2]], S[rows[t + 3]]
        e, f, g, h = S[rows[t + 4]], S[rows[t + 5]], S[rows[t + 6]], S[rows[t + 7]]
        ao, bo, co, do = old[t], old[t + 1], old[t + 2], old[t + 3]
        eo, fo, go, ho = old[t + 4], old[t + 5], old[t + 6], old[t + 7]
        an, bn, cn, dn = new[t], new[t + 1], new[t + 2], new[t + 3]
        en, fn, gn, hn = new[t + 4], new[t + 5], new[t + 6], new[t + 7]
        base = old[t : t + 8].sum()
        for j in range(len(gain)):
            one = (
                min(max(a[j], ao), an)
                + min(max(b[j], bo), bn)
                + min(max(c[j], co), cn)
                + min(max(d[j], do), dn)
            )
            two = (
                min(max(e[j], eo), en)
                + min(max(f[j], fo), fn)
                + min(max(g[j], go), gn)
                + min(max(h[j], ho), hn)
            )
            gain[j] -= np.int32(one + two) - base
        t += 8
    # the rest, one row at a time
    for s in range(t, count):
        a, ao, an = S[rows[s]], old[s], new[s]
        for j in range(len(gain)):
            gain[j] -= min(max(a[j], ao), an) - ao


@njit()
def _greedy(S, gain, k):
    n = len(gain)
    best = np.zeros(n, dtype=np.int32)
    # the rows that a pick raises, and their best similarity before and after
    rows = np.empty(n, dtype=np.int64)
    old, new = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32)
    picks, gains = np.empty(k, dtype=np.int64), np.empty(k, dtype=np.int64)
    for t in range(k):
        # the largest gain, at the lowest index
        top = gain[0]
        for j in range(n):
            top = max(top, gain[j])
        pick = 0
        while gain[pick] != top:
            pick += 1
        picks[t], gains[t] = pick, top

        # list the points whose best similarity rises, and take them out of all gains
        line = S[pick]
        count = 0
        for i in range(n):
            if line[i] > best[i]:
                rows[count], old[count], new[count] = i, best[i], line[i]
                best[i] = line[i]
                count += 1
        _subtract(S, rows, old, new, count, gain)
        gain[pick] = -1
    return picks, gains


def greedy(similarity: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As `numpy_engine.greedy`: picks (k,) int64 and gains (k,) int64; ties to the lower index.

    similarity: (n, n) int32, symmetric, in [0, 2**21].
    """
    picks, gains = _greedy(similarity, fixed_point.column_sums(similarity), k)
    return fixed_point.shift_gains(similarity, picks, gains)
