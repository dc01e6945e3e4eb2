"""Compiled parts of the set cover: pairs within a radius, lists of them, and the greedy cover."""

from __future__ import annotations

from math import inf, nextafter

import numpy as np

from robustfl.selection.numba_cache import njit

GROUP = 256  # points that share one upper bound on their counts


def limit(radius: np.float32, root: bool, factor: float) -> float:
    """The largest squared distance v with float32(sqrt(v)), or float32(factor v), <= radius.

    With it no root has to be taken to compare. radius: finite.
    """

    def passes(v: float) -> bool:
        return bool(np.float32(np.sqrt(v) if root else v * factor) <= radius)

    with np.errstate(over="ignore", under="ignore"):
        # start between the radius and the next float32, which after the largest is 2**128
        above = min(float(np.nextafter(radius, np.float32(inf))), 2.0**128)
        middle = (float(radius) + above) / 2
        v = middle**2 if root else middle / factor

        # then go to the last float64 that passes
        while not passes(v):
            v = nextafter(v, -inf)
        while passes(nextafter(v, inf)):
            v = nextafter(v, inf)
    return v


@njit()
def close_pairs(gram, square, first, left, floor, most, root, factor, row, column, distance, used):
    """Append the pairs i < j of a tile with squared distance <= most.

    gram: float64 tile whose first entry is that of points (first, left). `distance` takes float32,
    as `ClassPoints.block` returns. Returns the entries used, or -1 where the buffers are full.
    """
    column_square = square[left:]
    for i in range(gram.shape[0]):
        line = gram[i]
        row_square = square[first + i]
        # right of the diagonal alone: each pair once
        for j in range(max(0, first + i + 1 - left), gram.shape[1]):
            norm = row_square + column_square[j]
            value = -2.0 * line[j] + norm
            # below the floor a distance is rounding, so the pair is near at any radius
            if value <= most or value <= norm * floor:
                if used == len(row):
                    return -1
                value = value if value > norm * floor else 0.0
                row[used], column[used] = first + i, left + j
                distance[used] = np.float32(np.sqrt(value) if root else value * factor)
                used += 1
    return used


@njit()
def tally(gram, row_square, square, floor, most, counts):
    """counts[j] += how many rows of gram (rows, m) are within squared distance `most` of point j.

    row_square (rows,), square (m,): |x|^2 of the rows and of the points.
    """
    for i in range(len(gram)):
        line = gram[i]
        square_i = row_square[i]
        for j in range(len(counts)):
            norm = square_i + square[j]
            counts[j] += np.int64(-2.0 * line[j] + norm <= max(most, norm * floor))


@njit()
def lists(row, column, distance, n):
    """CSR (start (n + 1,), other, distance) of the pairs in both directions.

    Each point comes first among its own neighbours.
    """
    # count, then sum up to where each point's neighbours start
    start = np.zeros(n + 1, dtype=np.int64)
    for i in range(n):
        start[i + 1] = 1
    for e in range(len(row)):
        start[row[e] + 1] += 1
        start[column[e] + 1] += 1
    for i in range(n):
        start[i + 1] += start[i]

    # fill from there; at[i] is the next free place of point i
    at = start[:-1].copy()
    other = np.empty(start[n], dtype=np.int32)
    apart = np.empty(start[n], dtype=np.float32)
    for i in range(n):
        other[at[i]], apart[at[i]] = i, 0
        at[i] += 1
    for e in range(len(row)):
        i, j = row[e], column[e]
        other[at[i]], apart[at[i]] = j, distance[e]
        other[at[j]], apart[at[j]] = i, distance[e]
        at[i] += 1
        at[j] += 1
    return start, other, apart


@njit()
def cover(start, other):
    """As `neighbour_lists.cover_lists`.

    Counts only fall, so a group's old maximum bounds it, and few groups are looked at again.
    """
    n = len(start) - 1
    fresh = start[1:] - start[:-1]
    groups = (n + GROUP - 1) // GROUP
    bound = np.full(groups, n + 1, dtype=np.int64)
    covered = np.zeros(n, dtype=np.bool_)
    picks, gains = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    left = n
    count = 0
    while left:
        # look into the group of the largest bound until the bound is met
        pick = -1
        while pick < 0:
            g = 0
            for h in range(1, groups):
                if bound[h] > bound[g]:
                    g = h
            top, at = np.int64(-1), -1
            for i in range(g * GROUP, min((g + 1) * GROUP, n)):
                if fresh[i] > top:
                    top, at = fresh[i], i
            if top == bound[g]:
                pick = at
            bound[g] = top

        # cover its ball: whoever is near a newly covered point has one fresh point less
        picks[count], gains[count] = pick, fresh[pick]
        count += 1
        left -= fresh[pick]
        for e in range(start[pick], start[pick + 1]):
            point = other[e]
            if not covered[point]:
                covered[point] = True
                for f in range(start[point], start[point + 1]):
                    fresh[other[f]] -= 1
    return picks[:count], gains[:count]
