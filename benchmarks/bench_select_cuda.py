"""Exact selection on a GPU with Triton and with torch: the study's classes, and 100 small ones.

    # writes docs/benchmarks/selection-gpu.md; needs torch and numpy alone
    PYTHONPATH=. python benchmarks/bench_select_cuda.py

`greedy`: the similarities of all classes are on the device. `distances and greedy`: the points are.
`robustfl.select`: the call of a user with tensors on the device, its checks and cluster weights
included. Each is waited for; medians, after calls that compile.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

import robustfl
from robustfl.selection.distances import ClassPoints, by_class
from robustfl.selection.greedy import dispatch, fixed_point

CASES = ((10, 5000, 20.0), (100, 500, 20.0))  # classes, points of each, target in ms
RATIO = 0.4
D = 64  # dimensions
WARM = 2  # calls before the timed ones
CALLS = 7


def milliseconds(work, device: torch.device) -> float:
    """Median over CALLS of a call until the device has finished it."""

    def once() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - start)

    return statistics.median([once() for _ in range(WARM + CALLS)][WARM:])


def measure(
    count: int, n: int, engine: str, device: torch.device
) -> tuple[list[float], list[np.ndarray]]:
    """([greedy, distances and greedy, robustfl.select] in ms, the picks of each class)."""
    points = torch.from_numpy(
        np.random.default_rng(0).normal(size=(count * n, D)).astype(np.float32)
    ).to(device)
    labels = np.arange(count * n) % count
    clouds = [
        ClassPoints(points[torch.from_numpy(where).to(device)]) for _, where in by_class(labels)
    ]
    wanted = [int(RATIO * n)] * count

    # the same matrices for every engine
    matrices = [fixed_point.similarity(cloud.matrix(), cloud.max_distance)[0] for cloud in clouds]
    if engine == "triton":
        from robustfl.selection.greedy import triton_engine

        greedy = lambda: triton_engine.greedy(matrices, wanted)  # noqa: E731
    else:
        from robustfl.selection.greedy import torch_engine

        greedy = lambda: [torch_engine.greedy(m, k) for m, k in zip(matrices, wanted)]  # noqa: E731

    times = [
        milliseconds(greedy, device),
        milliseconds(lambda: dispatch.exact(clouds, wanted, engine), device),
        milliseconds(lambda: robustfl.select(points, labels, ratio=RATIO, engine=engine), device),
    ]
    return times, [picks.numpy() for picks, _ in greedy()]


def page(cases, device: torch.device) -> str:
    from machine import describe

    lines = [
        "# Selection on a GPU",
        "",
        "Made by `PYTHONPATH=. python benchmarks/bench_select_cuda.py`. "
        f"Normal points in {D} dimensions, ratio {RATIO:g}; "
        f"medians of {CALLS} calls after {WARM}. Machine: {describe()}.",
        "",
        "| classes x points | engine | greedy, ms | distances and greedy, ms "
        "| `robustfl.select`, ms | target, ms | picks equal Triton's |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for count, n, target in cases:
        reference = None
        for engine in ("triton", "torch"):
            if engine == "triton" and (device.type != "cuda" or not find_spec("triton")):
                continue
            times, picks = measure(count, n, engine, device)
            same = ""
            if reference is not None:
                same = "yes" if all(map(np.array_equal, picks, reference)) else "NO"
            if engine == "triton":
                reference = picks
            cells = " | ".join(f"{t:.1f}" for t in times)
            lines.append(f"| {count} x {n} | {engine} | {cells} | {target:.0f} | {same} |")
            print(lines[-1], file=sys.stderr)
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("docs/benchmarks"), help="folder (default: %(default)s)"
    )
    parser.add_argument(
        "--device",
        default="cuda",
        help="cpu tries the script with the torch engine (default: %(default)s)",
    )
    parser.add_argument("--points", type=int, help="points of a class, to try the script")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs=3,
        metavar=("COLUMNS", "ROWS", "WARPS"),
        help="other ones for the Triton kernel, to tune it",
    )
    args = parser.parse_args()
    if args.sizes:
        from robustfl.selection.greedy import triton_engine

        triton_engine.COLUMNS, triton_engine.ROWS, triton_engine.WARPS = args.sizes
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("device must be present; got cuda, and torch sees no CUDA device")
    cases = [(count, args.points or n, target) for count, n, target in CASES]
    text = page(cases, device)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "selection-gpu.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
