"""Memory and cores within the limits of the user, the job and the container."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from robustfl import machine

V1 = Path("/sys/fs/cgroup/memory")
ASK = "from robustfl import machine; print(machine.free_memory(), machine.cores())"


def ask(*before: str) -> tuple[int, int]:
    done = subprocess.run([*before, sys.executable, "-c", ASK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    memory, cores = done.stdout.split()
    return int(memory), int(cores)


def test_without_limits_it_is_what_the_machine_has():
    memory, cores = ask()
    assert 0 < memory <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 1 <= cores <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize("limit", ["--as", "--data"])
def test_a_limit_of_the_process_counts(limit):
    memory, _ = ask("prlimit", f"{limit}={2**29}")
    assert 2**27 < memory < 2**29  # less what Python itself has taken


def test_cores_are_those_that_the_process_may_run_on():
    one = min(os.sched_getaffinity(0))
    assert ask("taskset", "-c", str(one))[1] == 1


@pytest.mark.skipif(
    os.geteuid() != 0 or not os.access(V1, os.W_OK),
    reason="takes root and a writable control group of version 1",
)
def test_a_control_group_of_this_machine_counts():
    group = V1 / f"robustfl-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(2**28))
        join = f'echo $$ > {group}/cgroup.procs; exec "$@"'
        memory, _ = ask("sh", "-c", join, "sh")
        assert 2**26 < memory <= 2**28
    finally:
        group.rmdir()


def files(root: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


# files of the kernel, as other machines have them
MEMINFO = "MemTotal: 64000000 kB\nMemAvailable: 32000000 kB\n"
VERSION_2 = {
    "proc/self/cgroup": "0::/job.slice/step\n",
    "sys/job.slice/step/memory.max": "max\n",
    "sys/job.slice/step/memory.current": "5000\n",
    "sys/job.slice/memory.max": "9000000\n",
    "sys/job.slice/memory.current": "4000000\n",
    "sys/job.slice/memory.stat": "anon 3000000\ninactive_file 500000\n",
    "sys/job.slice/cpu.max": "150000 100000\n",
    "sys/cpu.max": "max 100000\n",
}
VERSION_1 = {
    # a container sees the path that it has outside, and its own group as the root
    "proc/self/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n0::/\n",
    "sys/memory/memory.limit_in_bytes": "7000000\n",
    "sys/memory/memory.usage_in_bytes": "6000000\n",
    "sys/memory/memory.stat": "cache 9\ntotal_inactive_file 200000\n",
    "sys/cpu/cpu.cfs_quota_us": "50000\n",
    "sys/cpu/cpu.cfs_period_us": "100000\n",
}
UNLIMITED = {
    "proc/self/cgroup": "4:memory:/\n1:cpu:/\n",
    "sys/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/memory/memory.usage_in_bytes": "6000000\n",
    "sys/cpu/cpu.cfs_quota_us": "-1\n",
    "sys/cpu/cpu.cfs_period_us": "100000\n",
}


@pytest.mark.parametrize(
    ("content", "memory", "cores"),
    [
        (VERSION_2, 9_000_000 - 4_000_000 + 500_000, 2),
        (VERSION_1, 7_000_000 - 6_000_000 + 200_000, 1),
        (UNLIMITED, 32_000_000 * 1024, 4),
        ({}, 32_000_000 * 1024, 4),
    ],
    ids=["version 2", "version 1", "no limit", "no groups"],
)
def test_control_groups_of_either_version_count(tmp_path, monkeypatch, content, memory, cores):
    files(tmp_path, {"proc/meminfo": MEMINFO} | content)
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "sys")
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda process: {0, 1, 2, 3})
    assert (machine.free_memory(), machine.cores()) == (memory, cores)


def test_more_used_than_allowed_is_nothing_free(tmp_path, monkeypatch):
    files(
        tmp_path,
        VERSION_1 | {"proc/meminfo": MEMINFO, "sys/memory/memory.usage_in_bytes": "8000000\n"},
    )
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "sys")
    assert machine.free_memory() == 0
