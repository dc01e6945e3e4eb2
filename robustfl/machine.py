"""What this process may use of the machine: memory and cores, within everybody's limits.

A machine may have more than a process is allowed: `ulimit`, a batch system's or container's control
group (version 1 or 2) and `taskset` each set a limit that the machine's own numbers do not show.
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
GROUPS = Path("/sys/fs/cgroup")  # where control groups are mounted
LIMITS = ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData"))
NONE = 2**62  # bytes: version 1 writes about 2**63 for a group without a limit


def free_memory() -> int:
    """Bytes that this process can still use, by the narrowest of all limits; never below 0.

    The machine's, of which the page cache is free; those of `ulimit -v` and `-d`; those of the
    control group and of the groups around it.
    """
    rooms = [_of_machine()]

    # a process's own limits are of addresses, used or not
    used = _kilobytes("self/status")
    for limit, key in LIMITS:
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY and key in used:
            rooms.append(soft - 1024 * used[key])

    rooms += _of_groups()
    return max(0, min(rooms))


def cores() -> int:
    """Cores that this process may run on, at most as many as its control group pays for."""
    allowed = len(os.sched_getaffinity(0))
    shares = [math.ceil(share) for share in _quotas()]
    return max(1, min([allowed, *shares]))


def _of_machine() -> int:
    # /proc/meminfo counts what the page cache would give back, unlike sysconf
    available = _kilobytes("meminfo").get("MemAvailable")
    if available is None:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return 1024 * available


def _kilobytes(name: str) -> dict[str, int]:
    """The lines `key: value kB` of a file of /proc; none where there is no such file."""
    lines = (line.split() for line in _text(PROC / name).splitlines())
    return {
        words[0].rstrip(":"): int(words[1])
        for words in lines
        if len(words) == 3 and words[2] == "kB"
    }


def _of_groups() -> Iterator[int]:
    """Bytes left to each control group of memory that this process is in, where it has a limit."""
    # version 1, then version 2: limit, use, and the pages of files that would be given back
    yield from _room(
        "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    )
    yield from _room("", "memory.max", "memory.current", "inactive_file")


def _room(controller: str, limit: str, use: str, cached: str) -> Iterator[int]:
    for folder in _groups(controller):
        most = _text(folder / limit).strip()
        used = _text(folder / use).strip()
        if not most.isdigit() or not used.isdigit() or int(most) >= NONE:
            continue  # `max`, or no such group
        lines = (line.split() for line in _text(folder / "memory.stat").splitlines())
        given_back = next((int(words[1]) for words in lines if words[0] == cached), 0)
        yield int(most) - int(used) + given_back


def _quotas() -> Iterator[float]:
    """Cores that each control group of processors allows in a period, where it has a limit."""
    for folder in _groups("cpu"):
        quota = _text(folder / "cpu.cfs_quota_us").strip()
        period = _text(folder / "cpu.cfs_period_us").strip()
        if quota.isdigit() and period.isdigit():  # -1: no limit
            yield int(quota) / int(period)
    for folder in _groups(""):
        words = _text(folder / "cpu.max").split()
        if len(words) == 2 and words[0].isdigit():
            yield int(words[0]) / int(words[1])


def _groups(controller: str) -> Iterator[Path]:
    """Folders of this process's group and those around it; controller "": of version 2.

    Inside a container the path is often the one outside it: what is not there is passed over.
    """
    for line in _text(PROC / "self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if controller not in names.split(","):
            continue
        mount = GROUPS / controller
        own = mount / path.lstrip("/")
        yield from (folder for folder in [own, *own.parents] if folder.is_relative_to(mount))


def _text(path: Path) -> str:
    """The content of a file of the kernel, "" where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
