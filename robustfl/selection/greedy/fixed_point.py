"""Similarities on a grid of whole numbers, so that sums of them are exact in any order.

S_ij = top - d_ij / step, rounded to integers of at most BITS bits; step is a power of two fixed by
a cheap bound on the distances of the class. Running sums of float32 similarities drift, and the
picks with them; sums of integers do not, so that every engine (numpy, numba, torch, Triton) makes
the same picks from the same S, whatever its order of summation.
"""

from __future__ import annotations

import math

from robustfl.selection.arrays import Array, column_sums, round_to_int32

__all__ = ["BITS", "column_sums", "quantum", "shift_gains", "similarity"]
BITS = 21  # 1024 rows of such values still fit a 32-bit sum


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
