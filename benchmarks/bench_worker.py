"""What the warm worker saves a workflow: the same runs with it and as plain processes.

    python benchmarks/bench_worker.py [--smoke 24] [--laptop 4] [--repeats 3] [--cache cache]

writes docs/benchmarks/worker.md. Runs are taken evenly from the whole study of a scale, as many at
once as there are cores, as the workflow starts them. A pass is a process of its own with a folder
of results and a cache of its own, so that nothing is found ready but the data sets; the first run
of a pass with the worker waits for the server to start. Both ways take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from machine import describe

from robustfl.execution import worker_client
from robustfl.execution.cli import spec_words
from robustfl.files import write_atomically
from robustfl.study import experiments

AT_ONCE = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Pass:
    """One pass over some runs: seconds on the clock, and seconds of them spent in epochs.

    begun: of all runs together, the seconds from the start of a process to its end.
    """

    wall: float
    begun: float
    epochs: float


def chosen(scale: str, wanted: int) -> tuple[list[str], int]:
    """Names of `wanted` runs, evenly spaced over the study of a scale, and how many it has."""
    names = list(experiments.load(scale, {"seeds": [0]}).specs)
    step = max(len(names) / wanted, 1)
    return [names[int(i * step)] for i in range(min(wanted, len(names)))], len(names)


def one_pass(scale: str, wanted: int, warm: bool, cache: Path) -> Pass:
    """Train the chosen runs, in this process's own offer of a worker or plainly."""
    os.environ.pop(worker_client.WORKER, None)
    if warm:
        worker_client.offer()
    study = experiments.load(scale, {"seeds": [0]})
    names, _ = chosen(scale, wanted)

    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "cache"
        own.mkdir()
        if (cache / "data").exists():
            (own / "data").symlink_to((cache / "data").resolve())
        config = dict(experiments.read_yaml(Path("config/config.yaml"))) | {"cache": str(own)}

        def train(name: str) -> float:
            words = [*spec_words(study.spec(name), config), "--out", f"{folder}/{name}"]
            command = [sys.executable, "-m", "robustfl", "train", name, *words]
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            return time.perf_counter() - start

        start = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            begun = sum(pool.map(train, names))
        wall = time.perf_counter() - start
        records = [json.loads(Path(f"{folder}/{n}/metrics.json").read_bytes()) for n in names]
    return Pass(wall, begun, sum(sum(record["seconds"].values()) for record in records))


def measured(scale: str, wanted: int, repeats: int, cache: Path) -> dict[bool, list[Pass]]:
    """Passes with the worker (True) and without, in turn, each in a process of its own."""
    passes: dict[bool, list[Pass]] = {True: [], False: []}
    for _ in range(repeats):
        for warm, done in passes.items():
            words = ["--pass", scale, str(wanted), "worker" if warm else "plain"]
            command = [sys.executable, __file__, *words, "--cache", str(cache)]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            done.append(Pass(**json.loads(answer.splitlines()[-1])))
            print(scale, words[-1], done[-1], flush=True)
    return passes


def row(scale: str, wanted: int, passes: dict[bool, list[Pass]]) -> str:
    """A line of the page's table: medians over the passes."""
    names, total = chosen(scale, wanted)
    wall = {warm: statistics.median(p.wall for p in done) for warm, done in passes.items()}
    outside = {
        warm: statistics.median(1 - p.epochs / p.begun for p in done)
        for warm, done in passes.items()
    }
    return (
        f"| {scale} | {len(names)} of {total} | {wall[False]:.0f} | {wall[True]:.0f} "
        f"| {wall[False] / wall[True]:.2f} | {outside[False]:.0%} | {outside[True]:.0%} |"
    )


def page(rows: list[str], repeats: int, note: str) -> str:
    """The page: how it was measured, and a line per scale."""
    return f"""# The warm worker: the runs of a workflow with it and as plain processes

Made by `make bench-worker` (runs of seed 0, evenly spaced over the study, {AT_ONCE} at once, one
thread each; medians of {repeats} passes, both ways in turn). Machine: {describe()}. It is shared:
ratios count.{f" {note}" if note else ""}

| scale | runs | plain, s | worker, s | plain / worker | outside epochs, plain | and with worker |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

*Outside epochs* is the share of the processes' time that their records do not count as selecting,
training or evaluating: Python, importing torch, loading data, writing the record, and with the
worker the wait for its server.
"""


def main() -> None:
    """Measure both scales and write the page, or do one pass."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", type=int, default=24, help="runs of the smoke scale")
    parser.add_argument("--laptop", type=int, default=4, help="runs of the laptop scale")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="where data/ lies")
    parser.add_argument("--note", default="", help="a sentence for the page's head")
    parser.add_argument("--page", default="docs/benchmarks/worker.md")
    parser.add_argument("--pass", nargs=3, dest="one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        scale, wanted, way = args.one
        print(json.dumps(vars(one_pass(scale, int(wanted), way == "worker", args.cache))))
        return

    rows = []
    for scale, wanted in (("smoke", args.smoke), ("laptop", args.laptop)):
        if wanted:
            rows.append(row(scale, wanted, measured(scale, wanted, args.repeats, args.cache)))
    write_atomically(args.page, page(rows, args.repeats, args.note))
    print(f"written: {args.page}")


if __name__ == "__main__":
    main()
