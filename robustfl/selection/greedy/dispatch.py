"""Which code runs the exact greedy: numba on a CPU, Triton on a CUDA device.

Where these are absent it is numpy or torch. All make the same picks from the same similarities.
numba, torch and Triton are imported on first use.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from shutil import which
from sysconfig import get_path

import numpy as np

from robustfl import machine
from robustfl.selection import validation
from robustfl.selection.distances import ClassPoints
from robustfl.selection.greedy import fixed_point
from robustfl.selection.outer import OuterProducts, each, on_host

# Bytes per entry of the (m, m) matrix: int32 similarities, and where they are not made in place the
# float32 distances and a temporary of their size.
BYTES = {"numba": 4, "numpy": 12, "torch": 24, "triton": 4}


def entry(engine: str, metric: str, points) -> int:
    """Bytes per entry of a class's (m, m) matrix."""
    # given similarities pass through float32 distances
    if engine == "numba" and metric == "precomputed":
        return BYTES["numba"] + BYTES["numpy"]
    return BYTES["torch" if engine == "triton" and not _by_differences(metric, points) else engine]


def _by_differences(metric: str, points) -> bool:
    """Can Triton's kernel, which subtracts rows, make the similarities? Else torch makes them."""
    return metric != "precomputed" and not isinstance(points, OuterProducts)


def resolve(engine: str, points) -> str:
    """The engine that `auto` stands for, or the one named.

    Raises ValueError for an unknown engine or one that cannot run here.
    """
    validation.one_of(engine, "engine", validation.ENGINES)
    on_cuda = not on_host(points)
    if engine == "auto":
        if on_cuda:
            return "triton" if find_spec("triton") and _builds() else "torch"
        return "numba" if find_spec("numba") else "numpy"
    if engine in ("numba", "numpy") and on_cuda:
        raise ValueError(
            f"engine must be auto, torch or triton for points on a CUDA device; got {engine!r}"
        )
    if engine in ("numba", "triton") and not find_spec(engine):
        raise ValueError(f"engine must be one whose package is installed; got {engine!r}")
    if engine == "triton" and not on_cuda and not os.environ.get("TRITON_INTERPRET"):
        raise ValueError(
            "engine must be numba, numpy or torch for points that are not on a CUDA device; "
            "got 'triton'"
        )
    return engine


def _builds() -> bool:
    """Can Triton build its launcher, which takes a C compiler and Python's headers?"""
    compiler = os.environ.get("CC") or which("gcc") or which("clang")
    return bool(compiler) and os.path.exists(os.path.join(get_path("include"), "Python.h"))


def place(points, engine: str):
    """The points as the engine wants them: numpy for CPU engines, tensors for torch and Triton."""
    if engine in ("torch", "triton") and on_host(points):
        import torch

        return each(points, lambda part: torch.from_numpy(np.ascontiguousarray(part)))
    return points


def free(engine: str, points) -> int:
    """Bytes of memory that are free for the matrices of one class."""
    if not on_host(points) and points.is_cuda:
        import torch

        # what torch has reserved and does not use is free to it
        device = points.device
        return (
            torch.cuda.mem_get_info(device)[0]
            + torch.cuda.memory_reserved(device)
            - torch.cuda.memory_allocated(device)
        )
    return machine.free_memory()


def similarities(clouds: list[ClassPoints], engine: str) -> Iterator[tuple]:
    """(S (m, m) int32, step) of each class, as `fixed_point.similarity` defines them.

    With numba, S is overwritten by the next one.
    """
    if engine == "numba":
        from robustfl.selection.greedy import numba_engine

        buffer = np.empty(max(len(cloud) for cloud in clouds) ** 2, dtype=np.int32)
        yield from (numba_engine.similarity(cloud, buffer) for cloud in clouds)
    elif engine == "triton" and _by_differences(clouds[0].metric, clouds[0].rows):
        from robustfl.selection.greedy import triton_similarity

        yield from map(triton_similarity.similarity, clouds)
    else:
        yield from (fixed_point.similarity(cloud.matrix(), cloud.max_distance) for cloud in clouds)


def exact(
    clouds: list[ClassPoints], wanted: list[int], engine: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(picks (k,) int64 positions in the class, gains (k,) float64) of each class.

    wanted: k of each class.
    """
    if not clouds:
        return []
    greedy = import_module(f"robustfl.selection.greedy.{engine}_engine").greedy
    results: list[tuple] = []
    steps: list[float] = []
    if engine == "triton":
        # as many classes at once as fit into a quarter of what is free
        for group in batches_within(clouds, free(engine, clouds[0].rows) // 4):
            matrices, own_steps = zip(*similarities([clouds[c] for c in group], engine))
            results += greedy(list(matrices), [wanted[c] for c in group])
            steps += own_steps
            del matrices  # before the next group's are made
    else:
        # one by one: numba's matrices share one buffer
        for (matrix, step), k in zip(similarities(clouds, engine), wanted):
            results.append(greedy(matrix, k))
            steps.append(step)
    return [
        (np.asarray(picks), np.asarray(gains) * step)
        for (picks, gains), step in zip(results, steps)
    ]


def batches_within(clouds: list[ClassPoints], memory: int) -> list[range]:
    """Classes, in their order, in groups whose matrices S take at most `memory` bytes.

    A class that exceeds it alone is a group of its own.
    """
    groups: list[range] = []
    used = memory  # full, so that the first class opens a group
    for c, cloud in enumerate(clouds):
        need = 4 * len(cloud) ** 2
        if used + need > memory:
            groups.append(range(c, c))
            used = 0
        groups[-1] = range(groups[-1].start, c + 1)
        used += need
    return groups
