"""The idx format of MNIST and its relatives."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from robustfl.data.base import DataError


def read_idx(path: Path) -> np.ndarray:
    """An idx file of unsigned bytes, plain or .gz -> uint8 array of the shape in its header.

    Format (LeCun's MNIST page): two zero bytes, type 0x08, number of dimensions, each dimension as
    a big-endian uint32, then the values. Raises DataError naming the file when it is truncated or
    no such file.
    """
    remedy = "the file is wrong or truncated: download it again"

    # a cut .gz raises EOFError, a damaged one zlib.error or OSError
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: must be a whole gzip file; got {error}; {remedy}") from error

    # the header says how many values follow
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * content[3]:
        start_bytes = content[:4].hex() or "nothing"
        raise DataError(
            f"{path}: must start as an idx file of unsigned bytes does; got {start_bytes}; {remedy}"
        )
    start = 4 + 4 * content[3]
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], dtype=">u4"))
    values = np.frombuffer(content, dtype=np.uint8, offset=start)
    if len(values) != math.prod(shape):
        raise DataError(
            f"{path}: must hold {math.prod(shape):,} values, {shape}; got {len(values):,}; {remedy}"
        )
    return values.reshape(shape)
