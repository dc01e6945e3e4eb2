"""Similarities on a grid of whole numbers, so that sums of them are exact in any order.

S_ij = top - d_ij / step, rounded to integers of at most BITS bits; step is a power of two fixed by a cheap bound on the
distances of the class. Running sums of float32 similarities drift, and the picks with them; sums of integers do not, so
that every engine (numpy, numba, torch, Triton) makes the same picks from the same S, whatever its order of summation.
"""

from __future__ import annotations

import math

import numpy as np

BITS = 21  # 1024 rows of such values still fit a 32-bit sum


def quantum(bound: float) -> tuple[float, int]:
    """(step, top) for distances up to `bound`: the smallest power of two with top = ceil(bound / step) <= 2**BITS."""
    step = 2.0 ** max(math.ceil(math.log2(bound)) - BITS, -120) if bound > 0 else 1.0
    return step, math.ceil(bound / step)


def similarity(distances, bound: float):
    """(S (n, n) int32, step) from (n, n) float32 distances, none above `bound` (numpy or torch)."""
    step, top = quantum(bound)
    if isinstance(distances, np.ndarray):
        return top - np.rint(distances / np.float32(step)).astype(np.int32), step
    return top - (distances / step).round().int(), step


def column_sums(similarity):
    """(n,) exact column sums in 64 bits, numpy or torch as the matrix is."""
    if isinstance(similarity, np.ndarray):
        return similarity.sum(0, dtype=np.int64)
    return similarity.sum(0)  # torch sums integers in 64 bits


def shift_gains(similarity, picks, gains):
    """(picks, gains) with F measured from the smallest similarity of the class, as in sum_i max (c - d_ij), c the largest d.

    `top` is a bound, not c: that adds the same constant to the first gain of every candidate and changes no pick.
    """
    gains[0] -= len(similarity) * int(similarity.min())
    return picks, gains
