"""Where a record comes from: versions, commit, device, hashes. No paths and no host names."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

import robustfl

CPU = torch.device("cpu")
# Variables with which torch and oneDNN take other kernels than the processor's best: other numbers.
KERNEL_VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


def git_commit() -> str:
    """Commit of the checkout the package runs from, `+changes` if files differ from it.

    ROBUSTFL_COMMIT, where set, speaks for a copy without git; `unknown` otherwise. Asked anew by
    every run: a commit may come while a worker lives.
    """
    if "ROBUSTFL_COMMIT" in os.environ:
        return os.environ["ROBUSTFL_COMMIT"]

    # in the package's folder, wherever the run was started from
    def git(*words: str) -> str:
        here = Path(robustfl.__file__).parent
        return subprocess.run(
            ["git", "-C", here, *words],
            capture_output=True,
            encoding="utf-8",
            check=True,
            timeout=10,
        ).stdout

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".").strip()
        return git("rev-parse", "HEAD").strip() + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def device_name(device: torch.device = CPU) -> str:
    """What the device calls itself: the GPU's name, or the processor's model."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cpu_kernels() -> str:
    """Torch's kernels on this processor, and the variables that ask for others: AVX512, say."""
    asked = [f"{name}={os.environ[name]}" for name in KERNEL_VARIABLES if os.environ.get(name)]
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *asked])


def collect(device: torch.device, **more) -> dict:
    """Provenance of a run that ends now on `device`.

    more: further keys (data and label hashes, begin).
    """
    return {
        "package": robustfl.__version__,
        "commit": git_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": device.type,
        "device_name": device_name(device),
        "cpu_kernels": cpu_kernels(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "end": now(),
        **more,
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
