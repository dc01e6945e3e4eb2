"""The short form of `make faults`.

Two kills into whole runs, a full disk, a planted NaN, no device memory, a flipped byte.
"""

import tempfile
from pathlib import Path

from faults import Faults, flipped_byte, full_disk, planted


def test_faults_lose_nothing():
    with tempfile.TemporaryDirectory(prefix="rfl", dir="/tmp") as folder:
        faults = Faults(Path(folder), seed=1)
        faults.kill(9, 2, ("--no-worker",))
        for step in (full_disk, planted, flipped_byte):
            step(faults)
    assert (faults.injected, faults.lost, faults.differ) == (6, 0, 0)
