"""The committed sample: a few hundred real images of each set, for the smoke scale and the tests.

It needs no network. scripts/draw_sample.py draws it; sample/sha256.json holds the hashes of its
arrays.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

from robustfl.data.base import KEYS, Arrays, DataError

FOLDER = Path(__file__).parent / "sample"


def load(name: str, folder: Path = FOLDER) -> Arrays:
    """The sample of a data set, verified: (n, C, H, W) and (n,) uint8 as in the full set.

    Raises DataError for a file that is absent, damaged or of other hashes.
    """
    path = folder / f"{name}.npz"
    remedy = "restore it from the repository, or run `python scripts/draw_sample.py`"
    try:
        expected = json.loads((folder / "sha256.json").read_text(encoding="utf-8"))[name]
        # opened here, since numpy leaves a file open that turns out to be no archive
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = Arrays.of({key: archive[key] for key in KEYS}, "sample")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: must be whole, with its hashes in sha256.json; got {error!r}; {remedy}"
        ) from error
    # the hashes of the full set cannot vouch for a part of it, so the sample has its own
    for key in KEYS:
        if arrays.hashes[key] != expected[key]:
            raise DataError(
                f"{path}: {key} must have sha256 {expected[key]}; got {arrays.hashes[key]};"
                f" {remedy}"
            )
    return arrays
