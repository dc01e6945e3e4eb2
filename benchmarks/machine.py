"""The machine in words, for the head of a benchmark's page. No host name, no path."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe() -> str:
    """CPU model, cores, memory, CUDA device if there is one, Python and library versions."""
    import numpy
    import torch

    # the processor; an ARM's cpuinfo has no model name
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    cpu = next(names, platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    listed = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    extensions = ", ".join(listed) or "no vector extensions listed"

    device = f"GPU: {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "no GPU"
    versions = (
        f"Python {platform.python_version()}, torch {torch.__version__}, numpy {numpy.__version__}"
    )
    return (
        f"{cpu}, {os.cpu_count()} cores visible ({extensions}), {memory:.0f} GiB; {device}; "
        f"{versions}"
    )
