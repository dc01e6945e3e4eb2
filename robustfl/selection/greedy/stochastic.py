"""Stochastic greedy facility location: no (m, m) matrix, for classes of any size.

Mirzasoleiman, Badanidiyuru, Karbasi, Vondrak and Krause, "Lazier than lazy greedy", AAAI 2015: each
step takes the best of s = (m / k) ln(1 / epsilon) candidates drawn at random from those left;
E[F(S)] >= (1 - 1/e - epsilon) F(best set).
"""

from __future__ import annotations

import math

import numpy as np

from robustfl.selection.arrays import round_to_int32, to_numpy
from robustfl.selection.distances import ClassPoints
from robustfl.selection.greedy import fixed_point


def greedy(
    cloud: ClassPoints, k: int, epsilon: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(picks (k,) int64, gains (k,) float64) of one class of m points.

    O(m^2 d ln(1 / epsilon)) time, O(s m) memory. Gains are measured from a bound on the largest
    distance instead of that distance itself, which only the whole matrix would tell: the first gain
    is larger by a constant than in exact greedy; they need not be non-increasing.
    """
    m = len(cloud)
    step, top = fixed_point.quantum(cloud.max_distance)
    draw = min(m, max(1, math.ceil(m / k * -math.log(epsilon))))
    # (m,) distance of each point to its nearest pick, on the grid
    near = np.full(m, top, dtype=np.int32)
    left = np.arange(m)  # the first m - t entries are the points not yet picked

    picks, gains = np.empty(k, dtype=np.int64), np.empty(k, dtype=np.int64)
    for t in range(k):
        slots = np.sort(rng.choice(m - t, size=min(draw, m - t), replace=False))
        slot, gains[t], levels = _best(cloud, left, slots, near, step)
        picks[t] = left[slot]
        # the last point that is left takes the place of the pick, so that no list is copied
        left[slot] = left[m - t - 1]
        near = np.minimum(near, levels)
    return picks, gains * step


def _best(
    cloud: ClassPoints, left: np.ndarray, slots: np.ndarray, near: np.ndarray, step: float
) -> tuple[int, int, np.ndarray]:
    """(slot, gain, (m,) int32 distances on the grid) of the candidate of largest gain.

    The candidates are left[slots]; ties go to the lower slot, as `slots` increases.
    """
    best, gain, nearest = -1, -1, near
    # at most 2**22 distances at a time
    for part in np.array_split(slots, max(1, len(slots) * len(near) // 2**22)):
        distances = to_numpy(cloud.block(left[part], slice(None)))
        levels = round_to_int32(distances / np.float32(step))
        levels[np.arange(len(part)), left[part]] = 0  # to itself, free of rounding
        gains = np.maximum(near - levels, 0).sum(1, dtype=np.int64)

        at = int(gains.argmax())
        if gains[at] > gain:
            best, gain, nearest = int(part[at]), int(gains[at]), levels[at]
    return best, gain, nearest
