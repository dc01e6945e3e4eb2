"""Similarities on a grid of whole numbers, so that sums of them are exact in any order.

S_ij = top - d_ij / step, rounded to integers of at most BITS bits; step is a power of two fixed by
a cheap bound on the distances of the class. Running sums of float32 similarities drift, and the
picks with them; sums of integers do not, so that every engine (numpy, numba, torch, Triton) makes
the same picks from the same S, whatever its order of summation.
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np

from robustfl.selection.arrays import Array, column_sums, round_to_int32, row_max, row_min, to_numpy
from robustfl.selection.distances import ClassPoints

__all__ = ["BITS", "column_sums", "quantum", "shift_gains", "similarity", "warn_where_coarse"]
BITS = 21  # 1024 rows of such values still fit a 32-bit sum
COARSE = 16  # steps: of a distance below, rounding is a thirty-second or more
SAMPLE = 256  # points whose nearest pick `resolution` looks for


def quantum(bound: float) -> tuple[float, int]:
    """(step, top) for distances up to `bound`.

    step is the smallest power of two with top = ceil(bound / step) <= 2**BITS.
    """
    step = 2.0 ** max(math.ceil(math.log2(bound)) - BITS, -120) if bound > 0 else 1.0
    return step, math.ceil(bound / step)


def similarity(distances: Array, bound: float) -> tuple[Array, float]:
    """(S (n, n) int32, step) from (n, n) float32 distances, none above `bound`; numpy or torch."""
    step, top = quantum(bound)
    return top - round_to_int32(distances / step), step


def shift_gains(similarity: Array, picks: Array, gains: Array) -> tuple[Array, Array]:
    """(picks, gains) with F measured from the smallest similarity of the class.

    That is F(S) = sum_i max_{j in S} (c - d_ij), c the largest distance. `top` is a bound, not c:
    it adds the same constant to the first gain of every candidate and changes no pick.
    """
    gains[0] -= len(similarity) * int(similarity.min())
    return picks, gains


def warn_where_coarse(
    method: str, clouds: list[ClassPoints], picked: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    """A UserWarning where rounding to the grid decided about most picks of a class.

    One point that is far from all others makes the grid as coarse as that. picked: (picks, gains)
    of each class, the gains in units of the metric.
    """
    found = [resolution(cloud, picks) for cloud, (picks, _) in zip(clouds, picked)]
    coarse = [
        pair
        for pair, (_, gains) in zip(found, picked)
        if 0 < pair.left < COARSE * pair.step and np.median(gains) < COARSE * pair.step
    ]
    if coarse:
        step, left = min(coarse, key=lambda pair: pair.left / pair.step)
        warnings.warn(
            f"{method}: far points make the grid of distances as coarse as {step:.3g}, but nine in "
            f"ten points are within {left:.3g} of their pick, in {len(coarse)} of {len(found)} "
            "classes; without the far points, or with a label of their own for them, it is finer",
            stacklevel=5,
        )


class Resolution(NamedTuple):
    """A class's grid beside the distances that its picks leave, both in units of the metric."""

    step: float
    left: float  # nine in ten of up to SAMPLE points that are no picks are that near to one


def resolution(cloud: ClassPoints, picks: np.ndarray) -> Resolution:
    """How the grid of a class of m points compares with what its (k,) picks leave; O(k d) time."""
    step = quantum(cloud.max_distance)[0]
    others = np.setdiff1d(np.arange(len(cloud)), picks)
    if not len(others):
        return Resolution(step, 0.0)

    sample = others[np.unique(np.linspace(0, len(others) - 1, SAMPLE).astype(np.int64))]
    if cloud.metric == "precomputed":
        # a similarity knows no distance 0: what counts is what the pick has less than the best
        rows = cloud.rows[sample]
        left = row_max(rows) - row_max(rows[:, picks])
    elif cloud.outer:
        left = row_min(cloud.block(sample, picks))
    else:
        # by differences: what a Gram matrix rounds to 0 between such points is no duplicate
        nearest = picks[to_numpy(cloud.block(sample, picks).argmin(1))]
        apart = cloud.rows[sample] - cloud.rows[nearest]
        squared = (apart * apart).sum(1)
        left = squared**0.5 if cloud.metric == "euclidean" else squared
    return Resolution(step, float(np.quantile(to_numpy(left), 0.9)))
