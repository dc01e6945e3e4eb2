"""What a data set is: its facts, its four arrays, and the hashes that say whether they are it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

KEYS = ("train_images", "train_labels", "test_images", "test_labels")


class DataError(RuntimeError):
    """Data is absent, wrong or cut short.

    The message names the file or array, the rule, the value and what to do.
    """


def digest(array: np.ndarray) -> str:
    """sha256 (hex) of the array's bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


@dataclass(frozen=True)
class Arrays:
    """The two splits of a data set, as they are on disk: no scaling, no shuffling."""

    train_images: np.ndarray  # (n, C, H, W) uint8, C order
    train_labels: np.ndarray  # (n,) uint8, class numbers
    test_images: np.ndarray  # (m, C, H, W) uint8, C order
    test_labels: np.ndarray  # (m,) uint8
    hashes: dict[str, str]  # sha256 of each of the four, by name
    source: str  # where they came from: torchvision | registry | folder | sample

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray], source: str) -> Arrays:
        """From the four arrays by name: made contiguous and hashed. Values must be uint8."""
        # the published hashes are of bytes in C order, which a transposed view does not have
        contiguous = {key: np.ascontiguousarray(arrays[key]) for key in KEYS}
        hashes = {key: digest(array) for key, array in contiguous.items()}
        return cls(**contiguous, hashes=hashes, source=source)

    def asdict(self) -> dict[str, np.ndarray]:
        return {key: getattr(self, key) for key in KEYS}


@dataclass(frozen=True)
class Dataset:
    """A data set's facts and the three ways to get it.

    Each way takes a folder and returns unverified Arrays: `from_torchvision` and `from_registry`
    download into an empty one, `from_folder` reads files a person has put there. They raise
    DataError, or whatever the tool they use raises.
    """

    name: str
    title: str  # as a reader writes it
    classes: tuple[str, ...]  # class number -> name
    shape: tuple[int, int, int]  # (C, H, W)
    mean: tuple[float, ...]  # per channel over all training pixels divided by 255, in float64
    std: tuple[float, ...]  # likewise, population standard deviation
    sha256: dict[str, str]  # of each of the four arrays, uint8, C order
    train_size: int
    test_size: int
    probes: tuple[str, ...]  # URLs that torchvision downloads from, asked before it is
    from_torchvision: Callable[[Path], Arrays]
    from_registry: Callable[[Path], Arrays]
    from_folder: Callable[[Path], Arrays]

    def rule(self, key: str) -> tuple[int, ...]:
        """The shape that array `key` must have."""
        size = self.train_size if key.startswith("train") else self.test_size
        return (size, *self.shape) if key.endswith("images") else (size,)

    def verify(self, arrays: Arrays, where: str, remedy: str) -> None:
        """Check type, shape and sha256 of all four arrays.

        where: how to name array `key` in the message, with {key} in it; remedy: what the reader
        should do then. Raises DataError naming the first array that is wrong.
        """
        for key, array in arrays.asdict().items():
            # type and shape first: a wrong hash alone would not say what is wrong
            place = where.format(key=key)
            if array.dtype != np.uint8 or array.shape != self.rule(key):
                raise DataError(
                    f"{place}: {self.name} {key} must be uint8 {self.rule(key)};"
                    f" got {array.dtype} {array.shape}; {remedy}"
                )
            if arrays.hashes[key] != self.sha256[key]:
                raise DataError(
                    f"{place}: {self.name} {key} must have sha256 {self.sha256[key]};"
                    f" got {arrays.hashes[key]}; {remedy}"
                )


def check_file(path: Path, algorithm: str, expected: str, remedy: str) -> Path:
    """Return the path if the file's digest is the expected one.

    algorithm: sha256 or md5. Raises DataError naming the file otherwise.
    """
    if not path.is_file():
        raise DataError(f"{path}: must be there; got no such file; {remedy}")
    with open(path, "rb") as file:
        actual = hashlib.file_digest(file, algorithm).hexdigest()
    if actual != expected:
        size = path.stat().st_size
        raise DataError(
            f"{path}: must have {algorithm} {expected}; got {actual}, {size:,} bytes;"
            f" wrong or truncated: {remedy}"
        )
    return path
