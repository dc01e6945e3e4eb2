"""Energy a device reports: NVML's counter of a GPU, the processor's RAPL counters (Linux powercap). None where there is none.

A counter is of the whole device: whatever else runs on it is counted too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter(Protocol):
    """Joules since the call before, or, at the first call, since the meter was made."""

    def __call__(self) -> float | None: ...


def meter(device: torch.device) -> EnergyMeter:
    """A meter of the device, or one that always says None where it reports no energy."""
    read = gpu_counter(device) if device.type == "cuda" else package_counter(POWERCAP)
    return _differences(read) if read else lambda: None


def package_counter(root: Path) -> Callable[[], list[tuple[float, float]]] | None:
    """Reads (joules, joules at which it starts again from 0) of every processor package; None where none can be read."""
    zones = sorted(zone for zone in root.glob("*-rapl:*") if zone.name.count(":") == 1)

    def read() -> list[tuple[float, float]]:
        names = ("energy_uj", "max_energy_range_uj")
        return [tuple(int((zone / name).read_text()) / 1e6 for name in names) for zone in zones]

    try:
        return read if read() else None
    except (OSError, ValueError):
        return None


def gpu_counter(device: torch.device) -> Callable[[], list[tuple[float, float]]] | None:
    """As package_counter, of the GPU that torch calls `device`: nvmlDeviceGetTotalEnergyConsumption, millijoules in 64 bits."""
    try:
        nvml, handle, spent = (
            ctypes.CDLL("libnvidia-ml.so.1"),
            ctypes.c_void_p(),
            ctypes.c_ulonglong(),
        )
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByUUID(
            uuid.encode(), ctypes.byref(handle)
        ):
            return None
    except (OSError, AttributeError):
        return None

    def read() -> list[tuple[float, float]]:
        failed = nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(spent))
        return [] if failed else [(spent.value / 1e3, 2**64 / 1e3)]

    return read if read() else None


def _differences(read: Callable[[], list[tuple[float, float]]]) -> EnergyMeter:
    before = read()

    def spent() -> float | None:
        nonlocal before
        now = read()
        if len(now) != len(before) or not now:
            return None
        total = sum((b - a) % size for (a, _), (b, size) in zip(before, now))
        before = now
        return total

    return spent
