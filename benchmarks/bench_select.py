"""Exact greedy facility location: robustfl, apricot-select and submodlib-py, side by side.

    # measured against, not needed by robustfl
    pip install apricot-select==0.6.1 submodlib-py==0.0.3 tqdm scikit-learn
    # writes docs/benchmarks/selection.{md,csv,svg}
    python benchmarks/bench_select.py
    python benchmarks/bench_select.py --sizes 500 1000 --repeats 1 --out /tmp/try

Every method gets one thread, its own process, and the same similarities; calls are those of a user:
a fresh selector each time. Seconds are CPU seconds of the process, which other work on a shared
machine stretches far less than the clock's; those are in the table of the CSV as `wall`. The first
call is timed apart (compilation); the time is the median of the others. Memory is the rise of the
process's peak over what it took with the matrix in place. F is counted in whole numbers, on the
same grid for all, and so is how many picks fell short of the largest gain of their step.
apricot-select compiles anew for every selector, so each method's fixed cost, the time of a call on
20 points, is measured beside it and the ratio is given with and without.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

METHODS = ("robustfl", "apricot-select lazy", "submodlib LazyGreedy")
SIZES = (1000, 2500, 5000, 6000)
RATIOS = (0.1, 0.4, 0.8)
DIMENSIONS = 64
FIELDS = (
    "method",
    "n",
    "ratio",
    "k",
    "seconds",
    "wall",
    "fastest",
    "first_call",
    "peak_mib",
    "f",
    "f_relative",
    "times_slower",
    "fixed_cost",
    "times_slower_without",
    "short_picks",
)


def robustfl_call(similarity: np.ndarray, step: float):
    from robustfl.selection.greedy import numba_engine

    return lambda k: numba_engine.greedy(similarity, k)[0]


def apricot_call(similarity: np.ndarray, step: float):
    from apricot import FacilityLocationSelection

    matrix = similarity * step  # (n, n) float64, what apricot works on
    return lambda k: (
        FacilityLocationSelection(k, metric="precomputed", optimizer="lazy").fit(matrix).ranking
    )


def submodlib_call(similarity: np.ndarray, step: float):
    from submodlib import FacilityLocationFunction

    n = len(similarity)
    matrix = (similarity * step).astype(np.float32)

    def call(k: int) -> np.ndarray:
        function = FacilityLocationFunction(n=n, mode="dense", sijs=matrix, separate_rep=False)
        pairs = function.maximize(
            k,
            optimizer="LazyGreedy",
            stopIfZeroGain=False,
            stopIfNegativeGain=False,
            show_progress=False,
        )
        return np.array([index for index, _ in pairs])

    return call


CALLS = dict(zip(METHODS, (robustfl_call, apricot_call, submodlib_call)))


def one(method: str, n: int, k: int, repeats: int) -> dict:
    """One method in this process: first call, then the median of `repeats`."""
    from robustfl.selection.distances import ClassPoints
    from robustfl.selection.greedy import numba_engine

    points = np.random.default_rng(0).normal(size=(n, DIMENSIONS)).astype(np.float32)
    similarity, step = numba_engine.similarity(ClassPoints(points), np.empty(n * n, dtype=np.int32))
    similarity -= similarity.min()
    call = CALLS[method](similarity, step)

    # the first call, then the repeats
    times, walls = [], []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(repeats + 1):
        start, wall = time.process_time(), time.perf_counter()
        picks = call(k)
        times.append(time.process_time() - start)
        walls.append(time.perf_counter() - wall)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert len(set(picks.tolist())) == k
    short, value = audit(similarity, picks)

    # what a call costs whatever its size
    small = CALLS[method](np.ascontiguousarray(similarity[:20, :20]), step)
    fixed = []
    for _ in range(3):
        start = time.process_time()
        small(8)
        fixed.append(time.process_time() - start)
    return {
        "seconds": statistics.median(times[1:]),
        "wall": statistics.median(walls[1:]),
        "fastest": min(times[1:]),
        "first_call": times[0],
        "peak_mib": peak,
        "f": value,
        "short_picks": short,
        "fixed_cost": statistics.median(fixed),
    }


def audit(similarity: np.ndarray, picks: np.ndarray) -> tuple[int, int]:
    """(picks whose gain was not the largest of their step, F), in whole numbers.

    The algorithm is that of `numpy_engine`, with the picks given.
    """
    best = np.zeros(len(similarity), dtype=np.int32)
    gain = similarity.sum(0, dtype=np.int64)
    short = 0
    for pick in picks:
        short += int(gain[pick] < gain.max())
        rose = np.flatnonzero(similarity[pick] > best)
        for rows in np.array_split(rose, 1 + len(rose) // 256):
            old, new = best[rows, None], similarity[pick, rows][:, None]
            gain -= (np.clip(similarity[rows], old, new) - old).sum(0, dtype=np.int64)
        best[rose] = similarity[pick, rose]
    return short, int(best.sum(dtype=np.int64))


def measure(sizes, ratios, repeats: int) -> list[dict]:
    """All methods in turn for each instance, each in a fresh process of one thread on one core."""
    rows = []
    for n in sizes:
        for ratio in ratios:
            own: list[dict] = []
            for method in METHODS:
                k = int(ratio * n)
                row = {"method": method, "n": n, "ratio": ratio, "k": k}
                row |= in_own_process(method, n, k, repeats)
                own.append(row)

                # against the first method of the instance, robustfl
                base = own[0]
                row["f_relative"] = row["f"] / base["f"]
                row["times_slower"] = row["seconds"] / base["seconds"]
                row["times_slower_without"] = (row["seconds"] - row["fixed_cost"]) / (
                    base["seconds"] - base["fixed_cost"]
                )
                print(
                    f"n {n}, k {k}, {method}: {row['seconds']:.4f} s, {row['times_slower']:.1f} x",
                    file=sys.stderr,
                )
            rows += own
    return rows


def in_own_process(method: str, n: int, k: int, repeats: int) -> dict:
    """What `one` measures, in a fresh process of one thread on the last core."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
    core = max(os.sched_getaffinity(0))
    case = ["--one", method, str(n), str(k), "--repeats", str(repeats)]
    done = subprocess.run(
        [sys.executable, __file__, *case],
        env={**os.environ, **threads},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    return json.loads(done.stdout.splitlines()[-1])


def exponent(rows: list[dict], method: str, ratio: float) -> float:
    """Slope of log time over log n."""
    own = [row for row in rows if row["method"] == method and row["ratio"] == ratio]
    return float(
        np.polyfit(np.log([r["n"] for r in own]), np.log([r["seconds"] for r in own]), 1)[0]
    )


def machine() -> str:
    """The processor, cores and memory, as the operating system tells."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in open("/proc/cpuinfo", encoding="utf-8")
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[2]
    return (
        f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB; "
        f"other work shared it (load {load:.1f} over the last 15 minutes)"
    )


def versions() -> str:
    from importlib.metadata import version

    return ", ".join(
        f"{name} {version(name)}" for name in ("numpy", "numba", "apricot-select", "submodlib-py")
    )


def report(rows: list[dict], repeats: int) -> str:
    """The Markdown page. Ratios first: they carry over to other machines better than seconds do."""
    return "\n".join([*_setting(rows, repeats), *_instances(rows), "", *_methods(rows), *NOTES])


def _setting(rows: list[dict], repeats: int) -> list[str]:
    stretch = [row["wall"] / row["seconds"] for row in rows]
    return [
        "# Exact greedy facility location, side by side",
        "",
        "Made by `python benchmarks/bench_select.py` (`make bench-select`); "
        "every number is in `selection.csv`.",
        "",
        f"Machine: {machine()}.",
        f"Python {platform.python_version()}, {versions()}. One thread pinned to one core.",
        "",
        f"All methods get the same similarities ({DIMENSIONS}-dimensional normal points, seed 0); "
        "greedy only, distances not counted;",
        f"median CPU seconds of {repeats} calls after the first, all methods in turn in one run; "
        "median wall / CPU time was",
        f"{statistics.median(stretch):.2f}, at worst {max(stretch):.2f} (other work). "
        "What is claimed is the ratio, not the seconds.",
        "`without`: less each method's fixed cost, a call on 20 points; "
        "for apricot-select that is its compilation at every call.",
        "Blank where the fixed cost is over four fifths of the time: what is left is then noise.",
        "",
    ]


def _instances(rows: list[dict]) -> list[str]:
    """The table of times: a line per instance."""
    slower = " | ".join(f"{m}, times slower (without)" for m in METHODS[1:])
    seconds = " | ".join(f"{m}, s" for m in METHODS)
    lines = [f"| n | k | {slower} | {seconds} |", "|" + "---:|" * (2 + 2 + 3)]
    table = {(row["n"], row["ratio"], row["method"]): row for row in rows}
    for n, ratio in sorted({(row["n"], row["ratio"]) for row in rows}):
        own = [table[n, ratio, method] for method in METHODS]
        cells = [f"{row['times_slower']:.1f}{without(row)}" for row in own[1:]]
        cells += [f"{row['seconds']:.4f}" for row in own]
        lines.append(f"| {n} | {own[0]['k']} | " + " | ".join(cells) + " |")
    return lines


def _methods(rows: list[dict]) -> list[str]:
    """The table of what does not depend on the instance: a line per method."""
    ratios = sorted({row["ratio"] for row in rows})
    lines = [
        "| method | first call, s (largest) | fixed cost, s (median) "
        "| peak memory above the matrix, MiB (largest) | F / F(robustfl), least and greatest "
        "| picks short of the largest gain "
        f"| exponent of growth, ratio {', '.join(map(str, ratios))} |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for method in METHODS:
        own = [row for row in rows if row["method"] == method]
        relative = [row["f_relative"] for row in own]
        growth = ", ".join(f"{exponent(rows, method, ratio):.2f}" for ratio in ratios)
        lines.append(
            f"| {method} | {max(r['first_call'] for r in own):.2f} "
            f"| {statistics.median(r['fixed_cost'] for r in own):.4f} "
            f"| {max(r['peak_mib'] for r in own):.0f} "
            f"| {min(relative):.9f}, {max(relative):.9f} "
            f"| {sum(r['short_picks'] for r in own)} | {growth} |"
        )
    return lines


NOTES = (
    "",
    "First call: robustfl's code is compiled once per installation (some seconds, not shown) and "
    "then loaded from disk.",
    "F: sum of the similarities of all points to their nearest pick, in whole grid units. "
    "Where no pick is short, a difference",
    "in F comes from ties alone: each method breaks them by a rule of its own, and what follows "
    "may be worth more or less.",
    "",
    "![time against n](selection.svg)",
    "",
)


def without(row: dict) -> str:
    """The ratio less the fixed costs, where enough of the time is left for it to mean something."""
    return (
        f" ({row['times_slower_without']:.1f})" if row["fixed_cost"] <= 0.8 * row["seconds"] else ""
    )


def plot(rows: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "robustfl"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for colour, method in zip(("C0", "C1", "C2"), METHODS):
        for style, ratio in zip((":", "-", "--"), sorted({row["ratio"] for row in rows})):
            own = [row for row in rows if row["method"] == method and row["ratio"] == ratio]
            label = f"{method}, ratio {ratio}"
            axes.loglog(
                [r["n"] for r in own],
                [r["seconds"] for r in own],
                style,
                color=colour,
                marker="o",
                markersize=3,
                label=label,
            )
    axes.set(xlabel="points of the class", ylabel="CPU seconds, greedy only, one thread")
    axes.legend(fontsize=6)
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--one",
        nargs=3,
        metavar=("METHOD", "N", "K"),
        help="measure one case in this process, print JSON",
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--ratios", type=float, nargs="+", default=RATIOS)
    parser.add_argument(
        "--repeats", type=int, default=5, help="calls after the first (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("docs/benchmarks"), help="folder (default: %(default)s)"
    )
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one[0], int(args.one[1]), int(args.one[2]), args.repeats)))
        return
    rows = measure(args.sizes, args.ratios, args.repeats)
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / "selection.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {
                name: f"{v:.6g}"
                if isinstance(v := row[name], float) and name != "f_relative"
                else v
                for name in FIELDS
            }
            for row in rows
        )
    (args.out / "selection.md").write_text(report(rows, args.repeats), encoding="utf-8")
    plot(rows, args.out / "selection.svg")


if __name__ == "__main__":
    main()
