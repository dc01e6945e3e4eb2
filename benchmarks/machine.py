"""The machine in words, for the head of a benchmark's page. No host name, no path."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe() -> str:
    """CPU model, cores, memory, Python and library versions, and the CUDA device if there is one."""
    import numpy
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    flags = next((line for line in lines if line.startswith("flags")), "")
    extras = [
        name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags.split()
    ]
    device = f"; GPU: {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "; no GPU"
    return (
        f"{cpu}, {os.cpu_count()} cores visible ({', '.join(extras) or 'no vector extensions listed'}), {memory:.0f} GiB"
        f"{device}; Python {platform.python_version()}, torch {torch.__version__}, numpy {numpy.__version__}"
    )
