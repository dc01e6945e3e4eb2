"""Exact greedy facility location for CUDA in Triton: one launch per step for all classes at once.

A program owns COLUMNS candidates of a class. It takes the class's pick from the best candidate of
every program, lists the points whose best similarity the pick raised, subtracts those rows of S
from its own candidates' gains, and names its best candidate for the next step. State that other
programs read is double-buffered, or written identically by all of them (the list), so programs of a
step may run in any order. The step's number lies on the device, so that one CUDA graph of STEPS
launches can be replayed to the end. Fixed-point S and integer sums: given the same S, the picks are
the CPU's.

Not yet run on a GPU, and its speed not measured: it was checked in Triton's interpreter against the
CPU engine and compiled for compute capability 9.0; `tests/selection/test_selection_cuda.py` does
both, and (marked `cuda`) compares picks where there is a device.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import triton
import triton.language as tl

from robustfl import cuda
from robustfl.selection.greedy import fixed_point

# 10 classes of 5000 points are 100 programs, fewer than an H100's 132 processors; with these sizes
# a program fits its registers
COLUMNS = 512  # candidates of a program
CHUNK = 8192  # points asked at a time whether the pick raised their best
ROWS = 16  # rows of S subtracted at a time
WARPS = 16
STEPS = 64  # launches in a CUDA graph, an even number as the warm-up's two


@triton.jit
def _best_of(tops, spots, TILES, SLOTS: tl.constexpr):
    """(pick, its gain): the best of the best candidates of a class's TILES programs."""
    slot = tl.arange(0, SLOTS)
    each = tl.load(tops + slot, mask=slot < TILES, other=-1)
    spot = tl.load(spots + slot, mask=slot < TILES, other=0)
    top = tl.max(each, axis=0)
    pick = tl.min(tl.where(each == top, spot, 2147483647), axis=0)  # ties: the lowest index
    return pick, top


@triton.jit
def _list_risen(best, line, n, rows, old, new, CHUNK: tl.constexpr):
    """List the points i of a class whose best similarity the pick raises; returns their number.

    best, line: (n,) best similarity so far, and similarity to the pick. rows, old, new: (n,) i, and
    its best similarity before and after.
    """
    # every program of the class writes the same values to the same places, so none has to wait
    count = 0
    for first in range(0, n, CHUNK):
        i = first + tl.arange(0, CHUNK)
        before = tl.load(best + i, mask=i < n, other=0)
        after = tl.load(line + i, mask=i < n, other=0)
        rose = after > before
        place = count + tl.cumsum(rose.to(tl.int32), axis=0) - 1
        tl.store(rows + place, i, mask=rose)
        tl.store(old + place, before, mask=rose)
        tl.store(new + place, after, mask=rose)
        count += tl.sum(rose.to(tl.int32), axis=0)
    return count


@triton.jit
def _subtract(left, S, n, j, inside, rows, old, new, count, ROWS: tl.constexpr):
    """The gains `left` of the candidates j, less what the `count` listed rows of S lose."""
    for q in range(0, count, ROWS):
        entry = q + tl.arange(0, ROWS)
        there = entry < count
        i = tl.load(rows + entry, mask=there, other=0).to(tl.int64)[:, None]
        low = tl.load(old + entry, mask=there, other=0)[:, None]
        high = tl.load(new + entry, mask=there, other=0)[:, None]
        block = tl.load(S + i * n + j[None, :], mask=there[:, None] & inside[None, :], other=0)
        # 16 * 2**21 fits 32 bits
        left -= tl.sum(tl.minimum(tl.maximum(block, low), high) - low, axis=0).to(tl.int64)
    return left


@triton.jit
def step(
    S,
    start,
    size,
    wanted,
    gain,
    rows,
    old,
    new,
    picks,
    gains,
    N,
    K,
    TILES,
    now,
    best,
    tops,
    spots,
    then,
    best_then,
    tops_then,
    spots_then,
    SLOTS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHUNK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """The step `now` of class c, on the program's own columns.

    N, K, TILES: strides of points, picks and programs.
    """
    c = tl.program_id(0)
    tile = tl.program_id(1)
    t = tl.load(now)
    n = tl.load(size + c)
    if c + tile == 0:
        tl.store(then, t + 1)
    if (t >= tl.load(wanted + c)) | (tile * COLUMNS >= n):
        return

    # the class's pick, which every program of the class finds for itself
    pick, top = _best_of(tops + c * TILES, spots + c * TILES, TILES, SLOTS)
    if tile == 0:
        tl.store(picks + c * K + t, pick)
        tl.store(gains + c * K + t, top)
    S += tl.load(start + c)
    line = S + pick.to(tl.int64) * n
    best += c * N

    # what the pick takes from the gains of the program's own candidates
    rows += c * N
    old += c * N
    new += c * N
    count = _list_risen(best, line, n, rows, old, new, CHUNK)
    tl.debug_barrier()  # other threads read the lists than wrote them
    j = tile * COLUMNS + tl.arange(0, COLUMNS)
    inside = j < n
    left = tl.load(gain + c * N + j, mask=inside, other=-1)
    left = _subtract(left, S, n, j, inside, rows, old, new, count, ROWS)
    left = tl.where(j == pick, -1, left)
    tl.store(gain + c * N + j, left, mask=inside)

    # for the next step: the best similarity of its own points, and its best candidate
    risen = tl.maximum(
        tl.load(best + j, mask=inside, other=0), tl.load(line + j, mask=inside, other=0)
    )
    tl.store(best_then + c * N + j, risen, mask=inside)
    largest = tl.max(left, axis=0)
    tl.store(tops_then + c * TILES + tile, largest)
    lowest = tl.min(tl.where(left == largest, j, 2147483647), axis=0)
    tl.store(spots_then + c * TILES + tile, lowest)


def greedy(
    similarities: list[torch.Tensor], wanted: list[int]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(picks (k,), gains (k,)), int64 on the CPU, of each class, as `numpy_engine.greedy` does it.

    similarities: one (n, n) int32 symmetric matrix in [0, 2**21] per class, on one device;
    wanted: picks of each class.
    """
    first = similarities[0]
    device = first.device
    sizes = [len(s) for s in similarities]
    most = max(wanted)
    grid = len(sizes), triton.cdiv(max(sizes), COLUMNS)  # classes, programs of each
    gain = _first_gains(similarities, grid)

    def ints(*shape: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    def vector(values: list[int], dtype: torch.dtype = torch.int32) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    # addresses relative to the first matrix, in elements: no copy of the matrices into one buffer
    apart = [(s.data_ptr() - first.data_ptr()) // first.element_size() for s in similarities]
    start = vector(apart, torch.int64)
    classes, points = gain.shape
    rows, old, new = ints(3, classes, points)
    picks = ints(classes, most)
    gains = ints(classes, most, dtype=torch.int64)
    fixed = (first, start, vector(sizes), vector(wanted), gain, rows, old, new, picks, gains)
    launch = _launcher((*fixed, points, most, grid[1]), grid, _states(gain.view(*grid, COLUMNS)))

    if device.type == "cuda":
        # a step past a class's last does nothing, so that the graph may overshoot
        times = triton.cdiv(most - 2, STEPS) if most > 2 else 0
        cuda.replay_graph(launch, min(2, most), STEPS, times, device)
    else:
        launch(most)
    picks, gains = picks.cpu().long(), gains.cpu()
    return [
        fixed_point.shift_gains(s, picks[c, :k], gains[c, :k])
        for c, (s, k) in enumerate(zip(similarities, wanted))
    ]


def _first_gains(similarities: list[torch.Tensor], grid: tuple[int, int]) -> torch.Tensor:
    """(classes, points) int64 gains before the first pick; -1 outside the class."""
    classes, tiles = grid
    shape = classes, tiles * COLUMNS
    gain = torch.full(shape, -1, dtype=torch.int64, device=similarities[0].device)
    for c, similarity in enumerate(similarities):
        gain[c, : len(similarity)] = fixed_point.column_sums(similarity)
    return gain


def _launcher(shared: tuple, grid: tuple[int, int], states: tuple) -> Callable[[int], None]:
    """launch(n): the next n steps. They take turns at reading one state and writing the other."""
    here, there = states
    turns = itertools.cycle([(*here, *there), (*there, *here)])
    tiles = grid[1]
    chunk = min(CHUNK, triton.next_power_of_2(tiles * COLUMNS))

    def launch(times: int) -> None:
        for _ in range(times):
            step[grid](
                *shared,
                *next(turns),
                SLOTS=triton.next_power_of_2(tiles),
                COLUMNS=COLUMNS,
                CHUNK=chunk,
                ROWS=ROWS,
                num_warps=WARPS,
            )

    return launch


def _states(gain: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """What a step reads, and what it writes for the next one.

    Each is the step's number, the best similarity of each point, and the gain and the position of
    the best candidate of each program. gain: (classes, tiles, COLUMNS) int64.
    """
    classes, tiles, _ = gain.shape
    points = tiles * COLUMNS
    index = torch.arange(points, dtype=torch.int32, device=gain.device).view(tiles, COLUMNS)
    tops = gain.amax(2)
    spots = torch.where(gain == tops[:, :, None], index, points).amin(2).int()

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.int32, device=gain.device)

    return (
        (zeros(1), zeros(classes, points), tops, spots),
        (zeros(1), zeros(classes, points), torch.full_like(tops, -1), torch.zeros_like(spots)),
    )
