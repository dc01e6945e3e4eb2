"""Checks of what a caller passes in: each error names the parameter, the rule and the value."""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from robustfl.selection.arrays import Array, is_finite, is_numpy, row_max, to_numpy
from robustfl.selection.outer import OuterProducts, on_host

METRICS = ("euclidean", "sqeuclidean", "cosine", "precomputed")
WEIGHTS = ("cluster", "ball", "uniform")
ENGINES = ("auto", "numba", "numpy", "torch", "triton")
ALGORITHMS = ("auto", "exact", "stochastic", "partition")
FLOAT32 = float(np.finfo(np.float32).max)  # distances are float32

# Kinds of numpy types that hold no numbers, and what a caller calls them.
WORDS = {"U": "text", "S": "text", "T": "text", "M": "dates", "m": "durations"}


# arrays


def numeric(value, name: str, rule: str = "hold real numbers") -> Array:
    """A real-valued numpy array, or the CUDA tensor given, which stays where it is.

    numpy input is copied only where its byte order or precision is foreign to torch; torch tensors
    of the CPU are viewed as numpy arrays, without their graph. rule: what it must do, for the
    error. Raises ValueError for anything else.
    """
    # torch and scipy are slow to import, and who passes their objects has imported them
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        value = _tensor(value, name)
        if not isinstance(value, np.ndarray):
            return value
    sparse = sys.modules.get("scipy.sparse")
    if sparse is not None and sparse.issparse(value):
        raise ValueError(f"{name} must be a dense array; got a sparse {value.format} matrix")
    if isinstance(value, np.lib.npyio.NpzFile):
        names = ", ".join(value.files)
        raise ValueError(f"{name} must be one array; got an .npz archive of: {names}")
    _refuse_masked(value, name)

    # whatever an object's own conversion raises is about the object
    try:
        array = np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(
            f"{name} must be a rectangular array of numbers; got ragged or unreadable rows "
            f"({type(error).__name__} in {type(value).__name__})"
        ) from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must {rule}; got {_kind(array, value)}")
    return _native(array)


def _tensor(value, name: str) -> Array:
    """A tensor as numpy array, without its subclass and graph; on a CUDA device as plain tensor."""
    import torch

    try:
        if value.layout != torch.strided or value.is_complex():
            raise TypeError(f"{value.layout}, {value.dtype}")
        value = value.detach().as_subclass(torch.Tensor).resolve_neg()
        if value.is_cuda:
            return value
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{name} must be a dense tensor of real numbers; got {type(value).__name__}: {reason}"
        ) from None


def _refuse_masked(value, name: str) -> None:
    """ValueError where an entry is masked: numpy would take the number below the mask."""
    parts = value if isinstance(value, (list, tuple)) else [value]
    for part in parts:
        if isinstance(part, np.ma.MaskedArray) and np.ma.is_masked(part):
            count = int(np.ma.getmaskarray(part).sum())
            raise ValueError(f"{name} must have no masked entries; got {count} of {part.size}")


def _kind(array: np.ndarray, value) -> str:
    """What an array without numbers holds, in words."""
    if array.dtype == object and array.ndim == 0:
        return "None" if value is None else f"one {type(value).__name__}"
    return WORDS.get(array.dtype.kind, f"dtype {array.dtype}")


def _native(array: np.ndarray) -> np.ndarray:
    """The array in this machine's byte order, and at most in float64: torch has nothing else."""
    if array.dtype.itemsize > 8:
        # what overflows is infinite then, and refused where values must be finite
        with np.errstate(all="ignore"):
            return array.astype(np.float64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def points(value, metric: str = "euclidean") -> Any:
    """(n, d) array or CUDA tensor, finite, n >= 1 and d >= 1.

    For the metric `precomputed` it is square and symmetric; for `cosine` no row is zero. Of
    OuterProducts, both factors are such arrays, equally long and on one device. ValueError names
    the parameter, rule and value.
    """
    if isinstance(value, OuterProducts):
        value = _outer(value, metric)
    else:
        value = _matrix(value, "points", "(n, d)")
    if metric == "precomputed":
        return _similarities(value)
    if metric == "cosine":
        for part in (value.left, value.right) if isinstance(value, OuterProducts) else (value,):
            _refuse_zero_rows(part)
    return value


def _similarities(array: Array) -> Array:
    """The array itself if it is square and symmetric, whole numbers in float64."""
    if array.shape[0] != array.shape[1]:
        raise ValueError(
            "points must be a square similarity matrix for metric='precomputed'; "
            f"got {tuple(array.shape)}"
        )
    # differences of small integers would wrap
    if is_numpy(array) and array.dtype.kind in "bui":
        array = array.astype(np.float64)
    with np.errstate(over="ignore"):
        gap = float(abs(array - array.T).max())
    if gap > 1e-5 * float(abs(array).max()):
        raise ValueError(
            "points must be a symmetric similarity matrix for metric='precomputed'; "
            f"got |S - S.T| = {gap}"
        )
    return array


def _refuse_zero_rows(array: Array) -> None:
    zero = np.flatnonzero(to_numpy(row_max(array != 0)) == 0)
    if len(zero):
        raise ValueError(
            "points must have no zero row for metric='cosine'; "
            f"got {len(zero)}, the first at {zero[0]}"
        )


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
    array = to_numpy(numeric(value, "labels", "be integers"))
    if array.shape != (n,):
        raise ValueError(f"labels must have shape ({n},), one per point; got {array.shape}")
    if array.dtype.kind not in "iub":
        raise ValueError(f"labels must be integers; got dtype {array.dtype}")
    return array


def indices(value, n: int) -> np.ndarray:
    """(k,) int64 positions in range(n), unique."""
    array = to_numpy(numeric(value, "indices", "be integers"))
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


# single values


def shown(value) -> str:
    """A value for an error, in one short line, whatever its own `repr` does."""
    try:
        text = " ".join(repr(value).split())
    except Exception:
        return f"one {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_real(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _float(value) -> float:
    """A real number as Python float: in float32 or float16, comparing with it would overflow."""
    try:
        return float(value)
    except OverflowError:  # a whole number or fraction beyond float64
        return math.inf if value > 0 else -math.inf


def ratio(value) -> float:
    """A share in (0, 1], of the type given: `count` needs to know how it was rounded."""
    if not _is_real(value) or not 0 < _float(value) <= 1:
        raise ValueError(f"ratio must be in (0, 1]; got {shown(value)}")
    return value


def radius(value, name: str = "radius") -> float:
    """A finite distance >= 0, which float32 can hold as the distances it is compared with."""
    number = _float(value) if _is_real(value) else math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} must be a finite number >= 0; got {shown(value)}")
    if number > FLOAT32:
        raise ValueError(f"{name} must be at most {FLOAT32:.7g} (float32); got {shown(value)}")
    return number


def epsilon(value) -> float:
    """A number in (0, 1)."""
    if not _is_real(value) or not 0 < _float(value) < 1:
        raise ValueError(f"epsilon must be in (0, 1); got {shown(value)}")
    return _float(value)


def memory(value) -> int | None:
    """A finite number of bytes > 0, rounded down; None: no limit is given."""
    if value is None:
        return None
    if not _is_real(value) or not 0 < _float(value) < math.inf:
        raise ValueError(f"memory must be a finite number of bytes > 0; got {shown(value)}")
    return int(value)


def whole(value, name: str, least: int) -> int:
    """A whole number >= least."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number >= {least}; got {shown(value)}")
    return int(value)


def seed(value) -> int:
    """A whole number >= 0."""
    return whole(value, "seed", 0)


def one_of(value, name: str, allowed) -> str:
    """A name out of a list."""
    if not isinstance(value, str) or value not in tuple(allowed):
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {shown(value)}")
    return value


def flag(value, name: str) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False; got {shown(value)}")
    return bool(value)


def generator(value) -> np.random.Generator:
    """The randomness a selector may use: passed in, never global."""
    if not isinstance(value, np.random.Generator):
        raise ValueError(f"rng must be a numpy.random.Generator; got {type(value).__name__}")
    return value


# The methods' options, by name: methods that share an option share its rule.
OPTIONS: dict[str, Callable[[Any], Any]] = {
    "engine": lambda value: one_of(value, "engine", ENGINES),
    "algorithm": lambda value: one_of(value, "algorithm", ALGORITHMS),
    "epsilon": epsilon,
    "memory": memory,
    "cover_radius": lambda value: None if value is None else radius(value, "cover_radius"),
}


# from a ratio to a number of points


def share(ratio: float, n: int) -> Fraction:
    """ratio * n, exactly: the ratio is the decimal that its type prints, 0.29 and not 0.28999...

    Where it is k / n up to the last bits of its type, as 1 / 3 or 1 - 0.9 are, the share is k.
    """
    exact = Fraction(str(ratio)) * n
    nearest = round(exact)
    # an error of one rounding near 1; a float128 has mostly been a float64 before
    rounding = np.finfo(type(ratio)).eps if isinstance(ratio, np.floating) else 0.0
    if abs(nearest - exact) <= Fraction(max(float(rounding), 2.0**-52)) * n:
        return Fraction(nearest)
    return exact


def count(ratio: float, n: int) -> int:
    """Picks out of a class of n points: max(1, floor(ratio * n)), see `share`.

    >>> count(0.29, 100), count(1 / 3, 3), count(np.float32(0.7), 100)
    (29, 1, 70)
    """
    return max(1, math.floor(share(ratio, n)))


def nearest_count(ratio: float, n: int) -> int:
    """The whole number next to ratio * n, at least 1; of two equally near ones, the even one."""
    return max(1, round(share(ratio, n)))
