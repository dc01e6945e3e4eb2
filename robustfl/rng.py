"""Counter-based randomness: each random value is a pure function of (seed, purpose, epoch, index).

Nothing here touches a global seed. The index is the position in the stream: value `i` of
`stream(seed, purpose, epoch)` never depends on who drew what before, in which order runs were made,
or on which device. Generator: Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011), as in numpy.
"""

from __future__ import annotations

import hashlib

import numpy as np


def key(seed: int, purpose: str, epoch: int = 0) -> int:
    """128-bit Philox key of (seed, purpose, epoch): different triples give independent streams.

    Raises ValueError for a negative seed.
    """
    if seed < 0:
        raise ValueError(f"seed must be >= 0; got {seed}")
    digest = hashlib.blake2b(f"{seed}/{purpose}/{epoch}".encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little")


def stream(seed: int, purpose: str, epoch: int = 0) -> np.random.Generator:
    """A numpy Generator whose i-th draw is a function of (seed, purpose, epoch, i) alone."""
    return np.random.Generator(np.random.Philox(key=key(seed, purpose, epoch)))
