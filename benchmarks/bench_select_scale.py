"""Selection at the study's size: a CIFAR-10-sized set, a set cover of it, and compiling.

    # writes docs/benchmarks/selection-scale.md, some minutes
    python benchmarks/bench_select_scale.py

Each case runs in its own process on one thread: where other work holds the cores, a second BLAS
thread spins and only costs. Memory is that process's peak, imports included. The points are
50,000 x 64 in 10 classes: normal, and for the set cover of 16 intrinsic dimensions plus noise.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

N, D = 50_000, 64
CASES = {  # name -> (threads, what is timed)
    "exact": (1, "facility location, 10 x 5000, ratio 0.4: distances and greedy"),
    "select": (1, "the same by `robustfl.select`: checks and cluster weights too"),
    "cover": (1, "set cover of 50,000 points at one radius (43105 balls)"),
    "bisect": (1, "the radius of 43105 balls found by bisection, cover included"),
    "compile": (1, "first call ever, nothing on disk: compiling included"),
    "load": (1, "first call of a process, compiled code on disk"),
}

ELSEWHERE = """\
Not on this page: the Triton engine and the torch engine on a GPU (targets: 10 x 5000 points at \
ratio 0.4 in 20 ms, 100 classes x 500).
`python benchmarks/bench_select_cuda.py` times them where there is a CUDA device and writes \
`selection-gpu.md`, which is absent until it
has run on one; `pytest -m cuda tests/selection/test_selection_cuda.py` compares their picks with \
the CPU's."""


def work_of(case: str) -> Callable[[], int]:
    """The call that the case times; it returns how many points it picked. Compiled code is loaded.

    `compile` and `load` time that loading, so that for them nothing is called before.
    """
    import robustfl
    from robustfl.selection.distances import ClassPoints, by_class
    from robustfl.selection.greedy import dispatch

    r = np.random.default_rng(0)
    points, labels = r.normal(size=(N, D)).astype(np.float32), np.arange(N) % 10

    def exact(k: int = 2000) -> int:
        clouds = [ClassPoints(points[where]) for _, where in by_class(labels)]
        return len(dispatch.exact(clouds, [k] * 10, "numba"))

    if case in ("compile", "load"):
        return lambda: len(robustfl.select(points[:100], ratio=0.5))

    if case in ("exact", "select"):
        robustfl.select(points[:100], ratio=0.5)
        return exact if case == "exact" else lambda: len(robustfl.select(points, labels, ratio=0.4))

    # a set cover: 16 intrinsic dimensions plus noise
    mixed = r.normal(size=(N, 16)) @ r.normal(size=(16, D)) + 0.3 * r.normal(size=(N, D))
    mixed = mixed.astype(np.float32)

    def cover(radius: float | None) -> robustfl.Selection:
        return robustfl.select(mixed, method="set_cover", ratio=43105 / N, cover_radius=radius)

    robustfl.select(mixed[:300], method="set_cover", ratio=0.5)
    radius = None if case == "bisect" else cover(None).radius
    return lambda: len(cover(radius))


def run(case: str) -> None:
    """Time one case in this process and print JSON."""
    work = work_of(case)
    times, result = [], 0
    for _ in range(1 if case in ("compile", "load") else 3):
        start, wall = time.process_time(), time.perf_counter()
        result = work()
        times.append((time.perf_counter() - wall, time.process_time() - start))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "seconds": statistics.median(t[0] for t in times),
                "cpu": statistics.median(t[1] for t in times),
                "peak_mib": peak,
                "result": result,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, help="run one case in this process, print JSON")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/benchmarks"), help="folder (default: %(default)s)"
    )
    args = parser.parse_args()
    if args.case:
        run(args.case)
        return
    from bench_select import machine

    lines = [
        "# Selection at the study's size",
        "",
        "Made by `python benchmarks/bench_select_scale.py`. 50,000 points in 64 dimensions.",
        "",
        f"Machine: {machine()}. Median of three calls, except the first calls.",
        "Seconds on the clock far above CPU seconds per thread mean that other work "
        "held the cores.",
        "",
        "| what | threads | seconds | CPU seconds of all threads "
        "| peak memory of the process, MiB |",
        "|---|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory(prefix="numba cache ") as cache:
        for case in ("compile", "load", "exact", "select", "cover", "bisect"):
            threads, what = CASES[case]
            env = (
                os.environ
                | {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
                | {"NUMBA_CACHE_DIR": cache}
            )
            done = subprocess.run(
                [sys.executable, __file__, "--case", case],
                env=env,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                check=True,
            )
            row = json.loads(done.stdout)
            lines.append(
                f"| {what} | {threads} | {row['seconds']:.2f} | {row['cpu']:.2f} "
                f"| {row['peak_mib']:.0f} |"
            )
            print(lines[-1], file=sys.stderr)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "selection-scale.md").write_text(
        "\n".join([*lines, "", ELSEWHERE, ""]), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
