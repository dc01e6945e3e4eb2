"""The precision in which a training step takes less time here: bf16 is not faster on every device.

A processor with amx_bf16 multiplies bf16 matrices several times faster than fp32 ones, one with
avx512 alone more slowly. The list of its instructions does not say by how much a step gains, so
`choose` takes the time of real steps, once per machine.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from robustfl import cuda
from robustfl.execution.provenance import device_name
from robustfl.files import check_folder, locked, write_atomically
from robustfl.study.run_spec import RunSpec
from robustfl.training import augment, resnet
from robustfl.training.augment import Images
from robustfl.training.data import Data
from robustfl.training.epoch_plan import Plan
from robustfl.training.steps.cuda_graph import GraphSteps
from robustfl.training.steps.eager import EagerSteps

PRECISIONS = ("fp32", "bf16")
MARGIN = {"cpu": 0.03, "cuda": 0.0}  # share of fp32's time that bf16 must save; fp32 is exact
SMALL = 16  # images of a probed step on a processor, at least
LARGEST = 128  # and at most
ROUNDS = 3  # measurements of each precision, in turn
BUDGET = 0.6  # seconds that a probe on a processor plans for
CLEAR = 1.5  # factor between the precisions that one round settles, once the budget is spent
REPLAYS = 4  # steps to a measurement on a GPU, where one is too short for the clock
CLASSES = 10  # their number weighs nothing beside the convolutions
FLAGS = ("avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16", "bf16")  # the last: ARM's


@dataclass(frozen=True)
class Choice:
    """A precision and the probe that decided it."""

    precision: str  # fp32 | bf16
    seconds: dict[str, float]  # precision -> the fastest probed step; empty: device without bf16
    images: int  # of a probed step; 0 where nothing was probed


Shape = tuple[int, int, int]
Probe = Callable[[torch.device, str, Shape, int], tuple[int, dict[str, float]]]


def choose(
    device: torch.device,
    model_name: str,
    shape: Shape,
    batch_size: int,
    cache: Path | str,
    probe: Probe | None = None,
) -> Choice:
    """bf16 where it saves more than MARGIN of a step's time, else fp32.

    shape: (C, H, W) of an image. A device without bf16 has fp32, and nothing is probed.

    The first answer is remembered in `cache`/precision.json, for this processor or GPU, version of
    torch, number of threads, model, shape and batch size, and given ever after: a clock's noise
    does not make the runs of a study differ in precision. Runs that ask at the same time wait for
    the one that probes. A file that is cut or another's counts for nothing and is written anew;
    deleting it has everything probed again.

    probe: what takes the time of steps, `measure` by default. Raises ValueError for an unknown
    model or a batch size below 1, and where there is no answer yet and `cache` cannot be written.
    """
    if not _has_bf16(device):
        return Choice("fp32", {}, 0)

    path = Path(cache) / "precision.json"
    key = _key(device, model_name, shape, batch_size)
    entries = _read(path)
    if key not in entries:
        ask = probe or measure
        entries = _remember(path, key, lambda: ask(device, model_name, shape, batch_size))

    entry = entries[key]
    seconds = entry["seconds"]
    faster = seconds["bf16"] < (1 - MARGIN[device.type]) * seconds["fp32"]
    return Choice("bf16" if faster else "fp32", seconds, entry["images"])


def measure(
    device: torch.device,
    model_name: str,
    shape: Shape,
    batch_size: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[int, dict[str, float]]:
    """Images of a probed step, and seconds of the fastest such step in each precision.

    The steps are those of a run (augmentation, forward, backward, fused SGD) on random images, in
    both precisions in turn, on torch's threads as they are set. No global random state changes.
    Raises ValueError as `choose` does.

    On a processor a step has 16 images, or 32, 64 or 128 where that keeps to BUDGET, and at most
    the batch size: all is done in under a second, for ResNet-32 at 200 images/s too. The small
    batch decides as the whole one does. Seconds in fp32 over seconds in bf16 on one core of an
    Intel Xeon with amx_bf16, at 16 and at 128 images; the other columns limit oneDNN to what older
    processors have, by ONEDNN_MAX_CPU_ISA:

                            amx_bf16       AVX512_CORE_BF16    AVX512_CORE_VNNI
        resnet32            1.71   1.70      0.72   0.76         0.33   0.36
        resnet32_stride2    1.35   1.67      0.79   0.79         0.45   0.33
        resnet14_stride2    1.29   1.44      0.78   0.75         0.45   0.39

    Where a step has little work bf16 gains less at 16 images than at 128 (resnet14_stride2 on two
    cores: 1.15 and 1.36), hence the larger batch where there is time for it.

    On a GPU the steps are replays of a recorded graph at the full batch size, since eager ones
    take Python's time in either precision. This has not run on a GPU.
    """
    start = clock()
    with cuda.exclusive_stream(device):
        return _measure(device, model_name, shape, batch_size, clock, start)


def _measure(
    device: torch.device,
    model_name: str,
    shape: Shape,
    batch_size: int,
    clock: Callable[[], float],
    start: float,
) -> tuple[int, dict[str, float]]:
    """As `measure`, on the current stream; start: the clock's time from which BUDGET counts."""
    on_gpu = device.type == "cuda"
    largest = batch_size if on_gpu else min(batch_size, LARGEST)
    count = REPLAYS if on_gpu else 1  # steps to a measurement
    data = _random_data(count * largest, shape, device)
    ways = {p: _steps(device, model_name, data, shape, batch_size, p) for p in PRECISIONS}

    def both(images: int) -> dict[str, float]:
        """Seconds of a step of so many images in each precision; waits for the device."""
        seconds = {}
        plan = _plan(count * images, len(data.given_labels), device)
        for precision, steps in ways.items():
            begin = clock()
            steps.run_epoch(plan).tolist()
            seconds[precision] = (clock() - begin) / count
        return seconds

    try:
        images = largest if on_gpu else min(SMALL, largest)
        both(images)  # makes oneDNN's primitives, or records the graph
        rounds = [both(images)]

        # a larger batch, where its warm-up and rounds fit
        left = BUDGET - (clock() - start)
        wider = _widest(images, largest, sum(rounds[0].values()) / images, left)
        if wider > images:
            images = wider
            rounds = []
            both(images)

        # the fastest of several rounds: whatever else runs only ever makes a step slower
        while len(rounds) < ROUNDS and not (clock() - start > BUDGET and _clear(rounds)):
            rounds.append(both(images))
    finally:
        for steps in ways.values():
            steps.close()
    return images, {p: min(seconds[p] for seconds in rounds) for p in PRECISIONS}


def _widest(images: int, largest: int, an_image: float, left: float) -> int:
    """The largest doubling of a batch whose warm-up and rounds take no more than `left` seconds.

    an_image: seconds that an image takes in both precisions together.
    """
    while images < largest and (ROUNDS + 1.5) * an_image * min(2 * images, largest) <= left:
        images = min(2 * images, largest)
    return images


def _clear(rounds: list[dict[str, float]]) -> bool:
    """One precision took CLEAR times as long as the other, or longer, in every round so far."""
    ratios = [seconds["fp32"] / seconds["bf16"] for seconds in rounds]
    return bool(ratios) and (min(ratios) >= CLEAR or max(ratios) <= 1 / CLEAR)


def _has_bf16(device: torch.device) -> bool:
    """Whether bf16 can be worth a probe: on a GPU from compute capability 8.0, on a processor where
    oneDNN has it (without, a step took torch 8 times as long as in fp32)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


# what is remembered


def _key(device: torch.device, model_name: str, shape: Shape, batch_size: int) -> str:
    """What a step's time depends on, in words."""
    words = [device_name(device)]
    if device.type == "cpu":
        words.append(" ".join(_flags()) or "no flags known")
        if "ONEDNN_MAX_CPU_ISA" in os.environ:
            words.append(f"ONEDNN_MAX_CPU_ISA {os.environ['ONEDNN_MAX_CPU_ISA']}")
    words += [f"torch {torch.__version__}", f"threads {torch.get_num_threads()}", model_name]
    return ", ".join([*words, " x ".join(map(str, (batch_size, *shape)))])


def _flags() -> list[str]:
    """Of FLAGS, those that the processor lists; none where there is no such list."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    listed = next((line.split() for line in lines if line.startswith(("flags", "Features"))), [])
    return [flag for flag in FLAGS if flag in listed]


def _remember(path: Path, key: str, probe: Callable[[], tuple[int, dict[str, float]]]) -> dict:
    """The file's entries with one of `key`, written meanwhile by another run or probed now."""
    check_folder(path.parent, "cache")
    with locked(path.with_suffix(".lock")):
        # another run may have probed while this one waited
        entries = _read(path)
        if key not in entries:
            images, seconds = probe()
            rounded = {p: float(f"{seconds[p]:.4g}") for p in PRECISIONS}
            entries[key] = {"images": images, "seconds": rounded}
            write_atomically(path, json.dumps(entries, indent=1) + "\n")
    return entries


def _read(path: Path) -> dict[str, dict]:
    """The sound entries of the file; none where it is absent, cut or another's."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(entries, dict):
        return {}
    return {key: entry for key, entry in entries.items() if _sound(entry)}


def _sound(entry: object) -> bool:
    """An entry is as `_remember` writes it: images >= 1, positive finite seconds of both."""
    if not isinstance(entry, dict) or set(entry) != {"images", "seconds"}:
        return False
    images = entry["images"]
    seconds = entry["seconds"]
    if type(images) is not int or images < 1:
        return False
    if not isinstance(seconds, dict) or set(seconds) != set(PRECISIONS):
        return False
    return all(type(s) is float and math.isfinite(s) and s > 0 for s in seconds.values())


# the steps that are probed


def _random_data(n: int, shape: Shape, device: torch.device) -> Data:
    """n images of random pixels and labels, from a generator of their own."""
    r = np.random.default_rng(0)
    pixels = r.integers(0, 256, (n, *shape), dtype=np.uint8)
    grey = (0.5,) * shape[0]
    images = Images.of(pixels, grey, grey, device)
    labels = torch.from_numpy(r.integers(0, CLASSES, n)).to(device)
    return Data(images, labels, labels, images, labels)


def _steps(
    device: torch.device, model_name: str, data: Data, shape: Shape, batch_size: int, precision: str
) -> EagerSteps:
    """Steps as a run makes them in one precision, with a model of their own."""
    spec = RunSpec(model=model_name, batch_size=batch_size, precision=precision)
    model = resnet.build(model_name, shape[0], CLASSES, seed=0)
    kind = GraphSteps if device.type == "cuda" else EagerSteps
    # torch's stubs do not know the argument
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return kind(model, data, spec)


def _plan(k: int, n: int, device: torch.device) -> Plan:
    """The first k of n images in order, at a learning rate at which nothing diverges."""
    crops = augment.draw_crops(0, 0, n).to(device)
    return Plan(torch.arange(k, device=device), torch.ones(k, device=device), crops, lr=1e-3)
