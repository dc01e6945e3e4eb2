"""Checks of what a caller passes in: each error names the parameter, the rule and the value."""

from __future__ import annotations

import math
import numbers
import sys
from typing import Any

import numpy as np

from robustfl.selection.arrays import Array, is_finite, is_numpy, to_numpy
from robustfl.selection.outer import OuterProducts, on_host

METRICS = ("euclidean", "sqeuclidean", "cosine", "precomputed")
WEIGHTS = ("cluster", "ball", "uniform")


def numeric(value, name: str) -> Array:
    """A real-valued numpy array, or the CUDA tensor given, which stays where it is.

    numpy input is never copied; torch tensors of the CPU are viewed as numpy arrays, without their
    graph. Raises ValueError for anything else.
    """
    # by the module's name: torch is slow to import, and who passes a tensor has imported it
    if type(value).__module__.partition(".")[0] == "torch":
        try:
            value = value.detach().resolve_conj().resolve_neg()
            if value.is_cuda:
                return value
            value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
        except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
            raise ValueError(
                f"{name} must be a dense tensor of real numbers; "
                f"got {type(value).__name__}: {error}"
            ) from None
    try:
        array = np.asarray(value)
    except (RuntimeError, TypeError, ValueError):
        raise ValueError(
            f"{name} must be a rectangular array of numbers; got ragged or unreadable rows"
        ) from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers; got dtype {array.dtype}")
    return array


def points(value, metric: str = "euclidean") -> Any:
    """(n, d) array or CUDA tensor, finite, n >= 1 and d >= 1.

    For the metric `precomputed` it is square and symmetric. Of OuterProducts, both factors are
    such arrays, equally long and on one device. ValueError names the parameter, rule and value.
    """
    if isinstance(value, OuterProducts):
        return _outer(value, metric)
    array = _matrix(value, "points", "(n, d)")
    if metric == "precomputed":
        if array.shape[0] != array.shape[1]:
            raise ValueError(
                "points must be a square similarity matrix for metric='precomputed'; "
                f"got {tuple(array.shape)}"
            )
        # differences of small integers would wrap
        if is_numpy(array) and array.dtype.kind in "bui":
            array = array.astype(np.float64)
        gap = float(abs(array - array.T).max())
        if gap > 1e-5 * float(abs(array).max()):
            raise ValueError(
                "points must be a symmetric similarity matrix for metric='precomputed'; "
                f"got |S - S.T| = {gap}"
            )
    return array


def _matrix(value, name: str, shape: str) -> Array:
    """A finite array or CUDA tensor of two dimensions, neither empty; `shape` names them."""
    array = numeric(value, name)
    if array.ndim != 2 or 0 in array.shape:
        n, d = shape.strip("()").split(", ")
        raise ValueError(
            f"{name} must have shape {shape} with {n} >= 1 and {d} >= 1; got {tuple(array.shape)}"
        )
    finite = is_finite(array)
    if not bool(finite.all()):
        at = tuple(int(i) for i in np.argwhere(~to_numpy(finite))[0])
        raise ValueError(f"{name} must be finite; got {float(array[at])} at {at}")
    return array


def _outer(value: OuterProducts, metric: str) -> OuterProducts:
    if metric == "precomputed":
        allowed = ", ".join(name for name in METRICS if name != "precomputed")
        raise ValueError(f"metric must be one of {allowed} for OuterProducts; got {metric!r}")
    left = _matrix(value.left, "points.left", "(n, a)")
    right = _matrix(value.right, "points.right", "(n, b)")
    if len(left) != len(right):
        raise ValueError(
            f"points.left and points.right must be equally long; got {len(left)} and {len(right)}"
        )
    devices = ["cpu" if on_host(part) else str(part.device) for part in (left, right)]
    if devices[0] != devices[1]:
        raise ValueError(
            f"points.left and points.right must be on one device; got {' and '.join(devices)}"
        )
    return OuterProducts(left, right)


def labels(value, n: int) -> np.ndarray:
    """(n,) integer labels on the CPU; None means that all points are of one class."""
    if value is None:
        return np.zeros(n, dtype=np.int64)
    array = to_numpy(numeric(value, "labels"))
    if array.shape != (n,):
        raise ValueError(f"labels must have shape ({n},), one per point; got {array.shape}")
    if array.dtype.kind not in "iub":
        raise ValueError(f"labels must be integers; got dtype {array.dtype}")
    return array


def indices(value, n: int) -> np.ndarray:
    """(k,) int64 positions in range(n), unique."""
    array = to_numpy(numeric(value, "indices"))
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            "indices must be a (k,) array of integers; "
            f"got shape {array.shape}, dtype {array.dtype}"
        )
    if len(array) and (array.min() < 0 or array.max() >= n):
        raise ValueError(f"indices must lie in [0, {n}); got {array.min()} to {array.max()}")
    if len(np.unique(array)) != len(array):
        raise ValueError(
            f"indices must be unique; got {len(array) - len(np.unique(array))} repeats"
        )
    return array.astype(np.int64)


def _is_real(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def ratio(value) -> float:
    """A share in (0, 1]."""
    if not _is_real(value) or not 0 < value <= 1:
        raise ValueError(f"ratio must be in (0, 1]; got {value!r}")
    return float(value)


def radius(value) -> float:
    """A finite distance >= 0."""
    if not _is_real(value) or not 0 <= value <= sys.float_info.max:
        raise ValueError(f"radius must be a finite number >= 0; got {value!r}")
    return float(value)


def one_of(value, name: str, allowed) -> str:
    """A name out of a list."""
    if not isinstance(value, str) or value not in tuple(allowed):
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
    return value


def generator(value) -> np.random.Generator:
    """The randomness a selector may use: passed in, never global."""
    if not isinstance(value, np.random.Generator):
        raise ValueError(f"rng must be a numpy.random.Generator; got {type(value).__name__}")
    return value


def count(ratio: float, n: int) -> int:
    """Picks out of a class of n points: max(1, floor(ratio * n))."""
    return max(1, math.floor(ratio * n))


def seed(value) -> int:
    """A whole number >= 0."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 0:
        raise ValueError(f"seed must be a whole number >= 0; got {value!r}")
    return int(value)
