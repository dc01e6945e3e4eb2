"""The few operations that numpy and torch spell differently; elsewhere the code serves both."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # a numpy array, or a torch tensor on any device


def is_numpy(array: Array) -> bool:
    """Is it a numpy array? Else it is a torch tensor, on whatever device."""
    return isinstance(array, np.ndarray)


def to_numpy(array: Array) -> np.ndarray:
    """The array itself, or the tensor's values copied to the CPU."""
    return array if is_numpy(array) else array.cpu().numpy()


def double(array: Array) -> Array:
    """The values in float64."""
    return array.astype(np.float64) if is_numpy(array) else array.double()


def single(array: Array) -> Array:
    """The values in float32."""
    return array.astype(np.float32) if is_numpy(array) else array.float()


def round_to_int32(array: Array) -> Array:
    """The nearest whole numbers, half to even, in int32."""
    return np.rint(array).astype(np.int32) if is_numpy(array) else array.round().int()


def is_finite(array: Array) -> Array:
    """Boolean array: neither infinite nor nan."""
    return np.isfinite(array) if is_numpy(array) else array.isfinite()


def row_max(matrix: Array) -> Array:
    """(rows,) the largest entry of each row."""
    return matrix.max(1) if is_numpy(matrix) else matrix.amax(1)


def row_min(matrix: Array) -> Array:
    """(rows,) the smallest entry of each row."""
    return matrix.min(1) if is_numpy(matrix) else matrix.amin(1)


def column_sums(matrix: Array) -> Array:
    """(columns,) sums of whole numbers in 64 bits."""
    # torch sums int32 in 64 bits by itself; numpy would on most platforms only
    return matrix.sum(0, dtype=np.int64) if is_numpy(matrix) else matrix.sum(0)


def upper_triangle(matrix: Array, diagonal: int) -> Array:
    """A copy with zeros below the diagonal of that number (0: the main one)."""
    return np.triu(matrix, diagonal) if is_numpy(matrix) else matrix.triu(diagonal)


def clear_diagonal(matrix: Array) -> None:
    """Set the main diagonal to 0, in place."""
    if is_numpy(matrix):
        np.fill_diagonal(matrix, 0)
    else:
        matrix.fill_diagonal_(0)
