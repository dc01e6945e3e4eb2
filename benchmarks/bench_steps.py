"""Images per second of training steps on a GPU: eager, compiled and CUDA graphs, one or many runs.

    PYTHONPATH=. python benchmarks/bench_steps.py

writes docs/benchmarks/training-gpu.md and needs torch and numpy alone. ResNet-32 in bf16 on random
images of CIFAR-10's shape: the speed of a step does not depend on the pixels.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from robustfl import cuda
from robustfl.execution.preparation import new_model
from robustfl.study.run_spec import RunSpec
from robustfl.training import augment
from robustfl.training.augment import Images
from robustfl.training.data import Data
from robustfl.training.epoch_plan import Plan
from robustfl.training.steps.cuda_graph import GraphSteps
from robustfl.training.steps.eager import EagerSteps

WAYS = {  # name -> (steps, compiled, runs at once)
    "eager": (EagerSteps, False, (1,)),
    "compiled": (EagerSteps, True, (1,)),
    "graph": (GraphSteps, False, (1, 2, 4, 8, 16)),
    "graph, compiled": (GraphSteps, True, (1, 8)),
}
EPOCHS = (1, 2, 2, 2)  # the first compiles, captures, warms up
TARGETS = {("graph", 32, 1): 30_000, ("graph", 32, 8): 100_000}


def synthetic(n: int, device: torch.device) -> Data:
    """n training images (and as test set the first of them) of random pixels and labels."""
    r = np.random.default_rng(0)
    images = Images.of(
        r.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), (0.5,) * 3, (0.25,) * 3, device
    )
    labels = torch.from_numpy(r.integers(0, 10, n)).to(device)
    return Data(images, labels, labels, images, labels)


def images_per_second(spec: RunSpec, kind: type, data: Data, runs: int = 1) -> float:
    """Speed of `runs` runs at once, each in a thread with its own model.

    The median of three measurements of two epochs each. kind: EagerSteps or a subclass.
    """
    device = data.given_labels.device
    n = len(data.given_labels)
    order = torch.arange(n, device=device)
    crops = augment.draw_crops(0, 0, n).to(device)
    plan = Plan(order, torch.ones(n, device=device), crops, lr=0.1)
    ways = [kind(new_model(spec, device), data, spec) for _ in range(runs)]
    if device.type == "cuda":
        torch.cuda.synchronize()  # made on this thread's stream, used on others

    # all runs begin and end a measurement together, and this thread takes the time
    barrier = threading.Barrier(runs + 1)
    seconds = []

    def work(steps: EagerSteps) -> None:
        try:
            with cuda.exclusive_stream(device):
                for count in EPOCHS:
                    barrier.wait()
                    for _ in range(count):
                        steps.run_epoch(plan).tolist()  # waits for the device
                    barrier.wait()
                if isinstance(steps, GraphSteps) and steps.graph is None:
                    raise RuntimeError("no graph was recorded")
                steps.close()
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(runs) as threads:
        futures = [threads.submit(work, steps) for steps in ways]
        with suppress(threading.BrokenBarrierError):
            for _ in EPOCHS:
                barrier.wait()
                start = time.perf_counter()
                barrier.wait()
                seconds.append(time.perf_counter() - start)

    # the error of a run comes before the broken barriers that it left to the others
    errors = [future.exception() for future in futures if future.exception()]
    for error in sorted(errors, key=lambda e: isinstance(e, threading.BrokenBarrierError)):
        raise error
    return statistics.median(
        count * runs * n / spent for count, spent in zip(EPOCHS[1:], seconds[1:])
    )


def determinism(spec: RunSpec, kind: type, data: Data) -> str:
    """What deterministic algorithms cost, as a sentence."""
    speed = {}
    for on in (True, False):
        torch.use_deterministic_algorithms(on)
        torch.utils.deterministic.fill_uninitialized_memory = False
        speed[on] = images_per_second(spec, kind, data)
    torch.use_deterministic_algorithms(True)
    device = data.given_labels.device.type
    return (
        f"Speed without deterministic algorithms over the speed with them, {device}: "
        f"{speed[False] / speed[True]:.3f}."
    )


def page(data: Data, ways: dict) -> str:
    """The page in Markdown. ways: as WAYS, or some of them."""
    from machine import describe

    lines = [
        "# Training steps on a GPU",
        "",
        "Made by `PYTHONPATH=. python benchmarks/bench_steps.py`. ResNet-32, bf16, "
        f"{len(data.given_labels):,} images per epoch. Machine: {describe()}.",
        "",
        "| batch | steps | runs at once | images/s | of eager | target, images/s |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    for batch in (32, 128):
        eager = None
        for name, (kind, compiled, together) in ways.items():
            spec = RunSpec(batch_size=batch, precision="bf16", torch_compile=compiled)
            for runs in together:
                head = f"| {batch} | {name} | {runs}"
                # a way that fails must not cost the figures of the others
                try:
                    speed = images_per_second(spec, kind, data, runs)
                except Exception as error:
                    reason = str(error).splitlines()[0][:80]
                    lines.append(f"{head} | failed: {reason} | | |")
                else:
                    eager = eager or speed
                    wanted = TARGETS.get((name, batch, runs))
                    target = f"{wanted:,}" if wanted else ""
                    lines.append(f"{head} | {speed:,.0f} | {speed / eager:.2f} | {target} |")
                print(lines[-1], file=sys.stderr, flush=True)
    last = list(ways.values())[-1][0]
    return "\n".join(
        [*lines, "", determinism(RunSpec(batch_size=128, precision="bf16"), last, data), ""]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("docs/benchmarks"), help="folder (default: %(default)s)"
    )
    parser.add_argument(
        "--device",
        default="cuda",
        help="cpu tries the script, eager steps only (default: %(default)s)",
    )
    parser.add_argument(
        "--images", type=int, default=50_000, help="images per epoch (default: %(default)s)"
    )
    args = parser.parse_args()
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("device must be present; got cuda, and torch sees no CUDA device")
    ways = WAYS if device.type == "cuda" else {"eager": WAYS["eager"]}
    torch.set_num_threads(1)
    text = page(synthetic(args.images, device), ways)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "training-gpu.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    # both before CUDA starts, as the command line does
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")
    main()
