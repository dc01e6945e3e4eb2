"""Greedy facility location, class by class: exact, stochastic, or by parts.

F(S) = sum_i max_{j in S} (c - d_ij) over the points i of a class, c the largest distance within
the class. Nemhauser, Wolsey and Fisher, "An analysis of approximations for maximizing submodular
set functions", 1978: the greedy set is worth at least 1 - 1/e of the best set of its size.
Mirzasoleiman, Bilmes and Leskovec, "Coresets for data-efficient training of machine learning
models", ICML 2020, use it on gradients.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from robustfl.selection import per_class, validation
from robustfl.selection.distances import ClassPoints, by_class, rows_of_class
from robustfl.selection.greedy import dispatch, fixed_point, greedi, stochastic
from robustfl.selection.result import Selection, join

LEAST = 256  # points of a part: a matrix of theirs takes nothing worth saving


@dataclass(frozen=True)
class Task:
    """One class: its (m,) positions in the whole set, its points, the picks wanted, and how."""

    where: np.ndarray
    points: ClassPoints
    k: int
    algorithm: str  # exact, stochastic or partition


def select(
    points,
    labels,
    ratio: float,
    rng: np.random.Generator | None,
    *,
    metric: str = "euclidean",
    engine: str = "auto",
    algorithm: str = "auto",
    epsilon: float = 0.1,
    memory: int | None = None,
) -> Selection:
    """Greedy picks of each class, in greedy order; weights: cluster sizes; gains: F gained by each.

    points: (n, d) array or tensor, or OuterProducts; labels: (n,) or None. Ties go to the larger
      gain, then to the lower index.
    algorithm:
      "exact": distances on a grid of 20 or 21 bits (`fixed_point`), greedy without further
      approximation, deterministic. O(m^2 d) + O(m^2 log m) typically, 4 m^2 bytes per class of m
      points (numba).
      "stochastic": (1 - 1/e - epsilon) in expectation, O(m) memory per candidate (`stochastic`).
      "partition": greedy on random parts, then on their picks (`greedi`).
      "auto": exact, and by parts, with a UserWarning, for a class whose matrix exceeds the limit
      or, where that was not known, the memory.
    memory: that limit in bytes for one class; None: half of what is free.
    engine: one of `validation.ENGINES`; "auto": the fastest one that can run on these points.
    rng: used by "stochastic" and "partition" alone, and may be None without them.
    A UserWarning says where far points make the grid too coarse to pick by. A finer one would take
    64-bit matrices in every engine, and float32 distances would still hide what it shows.
    Raises ValueError as `per_class.select` does, and for an engine that cannot run here, an
    unknown algorithm, an epsilon outside (0, 1), or a memory below one entry; MemoryError where
    "exact" is asked for and a class does not fit.
    """
    points, labels, ratio = per_class.check(points, labels, ratio, metric)
    engine = dispatch.resolve(engine, points)
    validation.OPTIONS["algorithm"](algorithm)
    epsilon, memory = validation.epsilon(epsilon), validation.memory(memory)

    points = dispatch.place(points, engine)
    entry = dispatch.entry(engine, metric, points)
    largest = _largest(memory, entry, engine, points)
    while True:
        tasks = _tasks(points, labels, ratio, metric, algorithm, largest, entry)
        try:
            picked = list(_picks(tasks, points, metric, engine, epsilon, largest, rng))
            break
        except MemoryError:
            # less is free than it seemed, so "auto" goes by smaller parts, and says so
            largest = min(largest, max(len(task.where) for task in tasks)) // 2
            if algorithm != "auto" or largest < LEAST:
                raise
    clouds = [task.points for task in tasks]
    fixed_point.warn_where_coarse("facility_location", clouds, picked)
    return join([per_class.weigh(task.where, task.points, *p) for task, p in zip(tasks, picked)])


def _tasks(
    points, labels: np.ndarray, ratio: float, metric: str, algorithm: str, largest: int, entry: int
) -> list[Task]:
    """One task per class. largest, entry: see `_largest`; raises MemoryError as `select` does."""
    tasks = []
    for _, where in by_class(labels):
        kind = _algorithm(algorithm, len(where), largest, entry)
        cloud = ClassPoints(rows_of_class(points, where, metric), metric)
        tasks.append(Task(where, cloud, validation.count(ratio, len(where)), kind))
    return tasks


def _picks(
    tasks: list[Task],
    points,
    metric: str,
    engine: str,
    epsilon: float,
    largest: int,
    rng: np.random.Generator | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(picks, gains) of each task, in their order, in which the generator is drawn from too."""
    # the exact ones together, as an engine may run all classes at once
    whole = [task for task in tasks if task.algorithm == "exact"]
    exact = iter(dispatch.exact([t.points for t in whole], [t.k for t in whole], engine))

    for task in tasks:
        if task.algorithm == "exact":
            yield next(exact)
            continue

        # the other two draw; only now is a missing generator an error
        generator = validation.generator(rng)
        if task.algorithm == "stochastic":
            yield stochastic.greedy(task.points, task.k, epsilon, generator)
        else:
            rows = rows_of_class(points, task.where, metric)
            part = min(largest, len(rows))
            yield greedi.greedy(rows, task.k, part, metric, engine, generator)


def _largest(memory: int | None, entry: int, engine: str, points) -> int:
    """Points of the largest class whose matrix, of `entry` bytes per entry, fits."""
    if memory is not None and memory < entry:
        raise ValueError(
            f"memory must be at least {entry} bytes for engine={engine!r}; got {memory!r}"
        )
    if memory is not None:
        return math.isqrt(int(memory // entry))
    return max(LEAST, math.isqrt(dispatch.free(engine, points) // (2 * entry)))


def _algorithm(algorithm: str, m: int, largest: int, entry: int) -> str:
    """The algorithm for a class of m points: the one asked for, or what "auto" means for it."""
    need = entry * m * m
    if algorithm == "exact" and m > largest:
        raise MemoryError(
            f"points of a class must be at most {largest} for algorithm='exact' in the memory "
            f"allowed; got {m} ({need:,} bytes)"
        )
    if algorithm != "auto":
        return algorithm
    if m <= largest:
        return "exact"

    # other picks than the exact ones, so nobody gets them without being told
    warnings.warn(
        f"facility_location: a class of {m} points needs {need:,} bytes; "
        f"selecting by parts of {largest}",
        stacklevel=4,
    )
    return "partition"
