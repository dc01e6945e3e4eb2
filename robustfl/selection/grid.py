"""Similarities on a grid of whole numbers, so that sums of them are exact in any order.

S_ij = (c - d_ij) / step rounded to integers of at most BITS bits, where c is the largest distance of the class and step
a power of two. Running sums of float32 similarities drift, and the picks with them; sums of integers do not, so that
every engine (numpy, numba, torch, Triton) makes the same picks from the same S, whatever its order of summation.
"""

from __future__ import annotations

import math

import numpy as np

BITS = 21  # 1024 rows of such values still fit a 32-bit sum


def step(top: float) -> float:
    """The grid's step for distances up to `top`: the smallest power of two with top / step <= 2**BITS.

    ValueError where a distance is beyond float32.
    """
    if not math.isfinite(top):
        raise ValueError(f"points must lie within distances that float32 can hold; got {top}")
    return 2.0 ** max(math.ceil(math.log2(top)) - BITS, -140) if top > 0 else 1.0


def similarity(distances):
    """(n, n) int32 similarities, and their step, from (n, n) float32 distances (numpy or torch)."""
    size = step(float(distances.max()))
    if isinstance(distances, np.ndarray):
        levels = np.rint(distances / np.float32(size)).astype(np.int32)
    else:
        levels = (distances / size).round().int()
    return levels.max() - levels, size
