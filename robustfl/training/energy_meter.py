"""Energy reported by the device's own counter, or None if it has none.

A GPU is read by NVML, a processor by its RAPL counters (Linux powercap). A counter is of the whole
device: whatever else runs on it is counted too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch

POWERCAP = Path("/sys/class/powercap")

# For each part of a device: joules so far, and the joules at which its counter begins again at 0.
Reading = list[tuple[float, float]]


class EnergyMeter(Protocol):
    """Joules since the call before, or, at the first call, since the meter was made."""

    def __call__(self) -> float | None: ...


def meter(device: torch.device) -> EnergyMeter:
    """A meter of the device; one that always answers None where the device reports no energy."""
    read = gpu_counter(device) if device.type == "cuda" else package_counter(POWERCAP)
    return _differences(read) if read else lambda: None


def package_counter(root: Path) -> Callable[[], Reading] | None:
    """Reads every processor package under `root`; None where none can be read."""
    # a package is one colon deep; its parts, which it includes, are two
    zones = sorted(zone for zone in root.glob("*-rapl:*") if zone.name.count(":") == 1)

    def joules(file: Path) -> float:
        return int(file.read_text(encoding="utf-8")) / 1e6

    def read() -> Reading:
        return [(joules(z / "energy_uj"), joules(z / "max_energy_range_uj")) for z in zones]

    try:
        return read if read() else None
    except (OSError, ValueError):
        return None


def gpu_counter(device: torch.device) -> Callable[[], Reading] | None:
    """Reads the GPU that torch calls `device`; None where NVML or its counter is absent.

    The counter is nvmlDeviceGetTotalEnergyConsumption: millijoules, in 64 bits.
    """
    handle = ctypes.c_void_p()
    spent = ctypes.c_ulonglong()
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        # torch and NVML may number the GPUs differently, but they agree on the UUID
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByUUID(uuid, ctypes.byref(handle)):
            return None
    except (OSError, AttributeError):
        return None

    def read() -> Reading:
        failed = nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(spent))
        return [] if failed else [(spent.value / 1e3, 2**64 / 1e3)]

    return read if read() else None


def _differences(read: Callable[[], Reading]) -> EnergyMeter:
    """A meter of what a counter adds from call to call."""
    before = read()

    def spent() -> float | None:
        nonlocal before
        now = read()
        if len(now) != len(before) or not now:
            return None
        # the remainder is right too when a counter has begun again since
        total = sum((b - a) % size for (a, _), (b, size) in zip(before, now))
        before = now
        return total

    return spent
