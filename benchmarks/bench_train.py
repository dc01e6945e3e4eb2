"""One epoch of robust training, ours beside a plain reference loop.

    python benchmarks/bench_train.py [--images 6000] [--repeats 3] [--page ...]

writes docs/benchmarks/training.md. Each way has a process of its own, and they run in turn.

The reference is the loop as it is usually published: PIL DataLoader without workers, NCHW fp32,
gradients by autograd with the graph of the whole forward pass, selection by row sums of the full
distance matrix, validation in batches of 128. Ours selects by exact facility location, which is
more work. Both train ResNet-32 on half of the images, batch 128. The page also says what
`precision: auto` takes on this processor, and the bound that its arithmetic sets.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from bench_steps import determinism, synthetic
from machine import describe
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from robustfl import data
from robustfl.execution.precision import choose
from robustfl.execution.preparation import Options, new_model, prepare
from robustfl.files import write_atomically
from robustfl.study.run_spec import RunSpec
from robustfl.training import resnet
from robustfl.training.epoch_selector import EpochSelector
from robustfl.training.loop import train_epochs
from robustfl.training.steps.eager import EagerSteps

PARTS = ("select", "train", "evaluate")


class PilImages(Dataset):
    """Images as PIL objects through torchvision's transforms, as published loops do it."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, kind, augmented: bool) -> None:
        from robustfl.data.source_torchvision import import_datasets

        import_datasets()  # torchvision beside a CPU-only torch
        from torchvision import transforms

        steps = [transforms.ToTensor(), transforms.Normalize(kind.mean, kind.std)]
        if augmented:
            steps = [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                *steps,
            ]
        self.transform = transforms.Compose(steps)
        self.images = images.transpose(0, 2, 3, 1)  # (n, H, W, C), as PIL wants them
        self.labels = labels.astype(np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int):
        from PIL import Image

        return self.transform(Image.fromarray(self.images[i])), int(self.labels[i])


def reference_epoch(arrays, kept, test, kind) -> dict[str, float]:
    """Seconds of select, train and evaluate of the plain loop.

    kept, test: positions of the training and test images; kind: the class of the data set.
    """
    model = resnet.build("resnet32", 3, 10, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    images = arrays.train_images[kept]
    labels = arrays.train_labels[kept]

    # select half of each class
    start = time.perf_counter()
    model.eval()
    rows = []
    for x, y in DataLoader(PilImages(images, labels, kind, augmented=False), 128):
        features = model.features(x)
        loss = F.cross_entropy(model.fc(features), y, reduction="sum")
        rows.append(torch.autograd.grad(loss, features)[0])
    subset = most_central_half(torch.cat(rows).numpy(), labels)
    selected = time.perf_counter()

    # train on it
    model.train()
    chosen = PilImages(images[subset], labels[subset], kind, augmented=True)
    for x, y in DataLoader(chosen, 128, shuffle=True):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    trained = time.perf_counter()

    # test the model
    model.eval()
    tested = PilImages(arrays.test_images[test], arrays.test_labels[test], kind, augmented=False)
    with torch.no_grad():
        for x, _y in DataLoader(tested, 128):
            model(x)
    return dict(zip(PARTS, (selected - start, trained - selected, time.perf_counter() - trained)))


def most_central_half(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The half of each class with the smallest sums of distances. points: (n, d); labels: (n,)."""
    picks = []
    for c in np.unique(labels):
        where = np.flatnonzero(labels == c)
        own = points[where]
        square = (own * own).sum(1)
        distance = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * own @ own.T, 0))
        picks.append(where[np.argsort(distance.sum(1))[: len(where) // 2]])
    return np.concatenate(picks)


def our_epoch(spec: RunSpec, options: Options) -> dict[str, float]:
    """Seconds of the parts of a run's second epoch: the first compiles, where the spec says so."""
    device = torch.device("cpu")
    ready, _ = prepare(spec, options, device)
    progress = train_epochs(new_model(spec, device), ready, spec, select=EpochSelector(spec, ready))
    return {part: progress.timings[-1][part] for part in PARTS}


WAYS = {  # name -> what its spec says beside the epoch's; None: the reference loop
    "reference loop": None,
    "ours, fp32": {},
    "ours, bf16": {"precision": "bf16"},
    "ours, bf16, compiled": {"precision": "bf16", "torch_compile": True},
}


def epoch(name: str, images: int, options: Options) -> dict[str, float]:
    """Seconds of select, train and evaluate of a way, in the way's own process."""
    torch.set_num_threads(1)
    if WAYS[name] is None:
        arrays = data.load("cifar10", cache=options.cache)
        kept = np.arange(images)
        return reference_epoch(arrays, kept, kept[: images // 5], data.DATASETS["cifar10"])
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    base = RunSpec(
        epochs=2, train_size=images, test_size=images // 5, method="facility_location", ratio=0.5
    )
    return our_epoch(dataclasses.replace(base, **WAYS[name]), options)


def measure(
    images: int, repeats: int, options: Options
) -> tuple[dict[str, list[dict[str, float]]], float]:
    """The seconds of each way's epochs, and the seconds that the compiled way's first one took."""
    # a process for each way: it has no other way's compiled code, and none of its memory
    fresh = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(ProcessPoolExecutor(1, mp_context=fresh)) for name in WAYS
        }

        # the first epoch of a process, which compiles, is kept out
        for name in WAYS:
            start = time.perf_counter()
            processes[name].submit(epoch, name, 1000, options).result()
        compiling = time.perf_counter() - start  # of the last way, the compiled one

        seconds: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
        for _ in range(repeats):
            for name in WAYS:
                seconds[name].append(processes[name].submit(epoch, name, images, options).result())
                print(name, {k: round(v, 2) for k, v in seconds[name][-1].items()}, flush=True)
    return seconds, compiling


def cpu_table(images: int, repeats: int, options: Options) -> list[str]:
    """The table of the ways and the notes below it, as lines of the page."""
    seconds, compiling = measure(images, repeats, options)
    total = {
        name: statistics.median(sum(r.values()) for r in rows) for name, rows in seconds.items()
    }
    lines = [
        "| way | reference / way | select | train | evaluate | epoch, seconds |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in seconds.items():
        parts = " | ".join(f"{statistics.median(r[p] for r in rows):.1f}" for p in PARTS)
        speedup = total["reference loop"] / total[name]
        lines.append(f"| {name} | {speedup:.2f} | {parts} | {total[name]:.1f} |")
    note = (
        "The compiled way compiles once per process, kept out of the table: here "
        f"{compiling:.0f} s with a first small epoch, less where an earlier process left its code "
        "on disk, more where none did."
    )

    ours = [name for name, way in WAYS.items() if way is not None]
    training = {name: statistics.median(r["train"] for r in seconds[name]) for name in ours}
    bound = ceiling(images, total["reference loop"], training)
    return [*lines, "", note, "", chosen(options.cache), "", *bound]


def chosen(cache: str) -> str:
    """What `precision: auto` takes here for the benchmark's model, and what its probe measured."""
    choice = choose(torch.device("cpu"), "resnet32", (3, 32, 32), 128, cache)
    takes = f"`precision: auto` takes {choice.precision} here"
    if not choice.seconds:
        return f"{takes}: the processor has no bf16, and nothing was probed."
    fp32, bf16 = (1000 * choice.seconds[p] for p in ("fp32", "bf16"))
    return (
        f"{takes}: its probe measured {fp32:.1f} ms for a step of {choice.images} images in fp32 "
        f"and {bf16:.1f} ms in bf16, {fp32 / bf16:.2f} times fp32's speed."
    )


def ceiling(images: int, reference: float, training: dict[str, float]) -> list[str]:
    """The processor's bound, and how near to it our training comes, as lines of the page.

    The bound is the speed of a loop that does nothing but the convolutions' arithmetic, in the
    precision whose matrix product is the faster one on this processor.

    reference: seconds of the reference loop's epoch on so many images. training: each way's seconds
    of training on half of them.
    """
    # floating point operations: select on all images, train on half, test on a fifth as many
    speed = {"fp32": matmul_speed(torch.float32), "bf16": matmul_speed(torch.bfloat16)}
    faster = max(speed, key=speed.get)
    forward, step = flops_of_an_image()
    flops = images * (forward + step / 2 + forward / 5)
    seconds = flops / speed[faster]  # of an epoch
    bound = speed[faster] / step  # images/s of training

    lines = [
        f"The processor's bound: a matrix product runs at {speed['fp32'] / 1e9:.0f} GFLOP/s in "
        f"fp32 and {speed['bf16'] / 1e9:.0f} in bf16 on one core here. At {faster}'s speed, the "
        f"faster, the {flops / 1e12:.2f} TFLOP of this epoch's convolutions alone, forward and "
        f"backward, take {seconds:.1f} s: {reference / seconds:.2f} times the reference loop's "
        f"speed. Training alone is bound to {bound:.0f} images/s.",
        "",
        "| way | training, images/s | share of the bound |",
        "|---|---:|---:|",
    ]
    for name, spent in training.items():
        reached = images / 2 / spent
        lines.append(f"| {name} | {reached:.0f} | {100 * reached / bound:.0f} % |")
    return lines


def flops_of_an_image() -> tuple[int, int]:
    """Floating point operations of ResNet-32 on one image: forward, and forward and backward."""
    model = resnet.build("resnet32", 3, 10, seed=0)
    x = torch.zeros(1, 3, 32, 32)
    counts = []
    for backward in (False, True):
        with FlopCounterMode(display=False) as counter:
            out = model(x).sum()
            if backward:
                out.backward()
        counts.append(counter.get_total_flops())
    return tuple(counts)


def matmul_speed(dtype: torch.dtype, n: int = 2048, repeats: int = 7) -> float:
    """Floating point operations per second of an (n, n) matrix product."""
    a = torch.randn(n, n).to(dtype)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return 2 * n**3 / statistics.median(seconds)


ELSEWHERE = """`PYTHONPATH=. python benchmarks/bench_steps.py` measures steps on a GPU and writes
`training-gpu.md`, which is absent until it has run on one: images/s of eager, compiled and graph
steps at batch 32 and 128, of 1, 2, 4, 8 and 16 runs at once (targets: 30,000 for one run at batch
32, 100,000 for eight), and determinism's cost there. Not measured either: the time of the whole
study, one seed (target 60 minutes):
`time snakemake --cores 8 report/summary.pdf --config scale=full`.
`robustfl/training/steps/cuda_graph.py`, `cuda.py` have not run on a GPU."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images",
        type=int,
        default=6000,
        help="training images of the CPU comparison (50000 = all)",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", default="cache")
    parser.add_argument(
        "--page",
        type=Path,
        default=Path("docs/benchmarks/training.md"),
        help="default: %(default)s",
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    options = Options(cache=args.cache)
    page = [
        "# Training: one epoch, ours beside a plain loop",
        "",
        f"Made by `make bench-train` ({args.images} images of CIFAR-10, half of them trained on, "
        f"{args.images // 5} test images, one thread, medians of {args.repeats} in turn). "
        f"Machine: {describe()}. It is shared: ratios count.",
        "",
        *cpu_table(args.images, args.repeats, options),
        "",
        determinism(RunSpec(model="resnet8"), EagerSteps, synthetic(2000, torch.device("cpu"))),
        "",
        "## GPU",
        "",
        ELSEWHERE,
    ]
    write_atomically(args.page, "\n".join(page) + "\n")
    print(f"wrote {args.page}")


if __name__ == "__main__":
    main()
