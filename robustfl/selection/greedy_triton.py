"""Exact greedy facility location for CUDA in Triton: all classes at once, one persistent program a class.

A program keeps the gains (64 bits) and the best similarities of its class in registers through all its steps; only the
rows of S whose best rose are read, R at a time. Fixed-point S and integer sums: given the same S, the picks are the CPU's.
This kernel has not yet been run on a GPU: it was checked in Triton's interpreter against the CPU engine, and
`tests/test_selection_cuda.py` (marked `cuda`) makes the same comparison where there is a device. Its speed is not measured.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from robustfl.selection import grid

LARGEST = 8192  # points of a class whose gains fit one program's registers; `greedy_torch` takes the larger ones
R = 2  # rows read at a time


@triton.jit
def _greedy(S, start, size, wanted, gain, rows, old, new, picks, gains, K, BLOCK: tl.constexpr, R: tl.constexpr):
    c = tl.program_id(0)
    n, k = tl.load(size + c), tl.load(wanted + c)
    S += tl.load(start + c)
    at = tl.arange(0, BLOCK)
    inside = at < n
    left = tl.load(gain + c * BLOCK + at)  # int64; -1 outside the class and for what is picked
    best = tl.zeros([BLOCK], dtype=tl.int32)
    for t in range(k):
        top = tl.max(left, axis=0)
        pick = tl.min(tl.where(left == top, at, BLOCK), axis=0)
        tl.store(picks + c * K + t, pick)
        tl.store(gains + c * K + t, top)
        line = tl.load(S + pick.to(tl.int64) * n + at, mask=inside, other=0)
        rose = line > best
        slot = c * BLOCK + tl.cumsum(rose.to(tl.int32), axis=0) - 1
        count = tl.sum(rose.to(tl.int32), axis=0)
        tl.store(rows + slot, at, mask=rose)
        tl.store(old + slot, best, mask=rose)
        tl.store(new + slot, line, mask=rose)
        tl.debug_barrier()  # the lists are read by other threads than wrote them
        for q in range(0, count, R):
            where = q + tl.arange(0, R)
            there = where < count
            i = tl.load(rows + c * BLOCK + where, mask=there, other=0).to(tl.int64)
            o = tl.load(old + c * BLOCK + where, mask=there, other=0)[:, None]
            w = tl.load(new + c * BLOCK + where, mask=there, other=0)[:, None]
            tile = tl.load(S + i[:, None] * n + at[None, :], mask=there[:, None] & inside[None, :], other=0)
            left -= tl.sum(tl.minimum(tl.maximum(tile, o), w) - o, axis=0).to(tl.int64)
        best = tl.maximum(best, line)
        left = tl.where(at == pick, -1, left)
        tl.debug_barrier()  # before the next step overwrites the lists


def greedy(similarities: list[torch.Tensor], wanted: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(picks (k,), gains (k,)), int64 on the CPU, of each class, as `greedy_numpy.greedy` gives them.

    similarities: one (n, n) int32 symmetric matrix in [0, 2**21] a class, n <= LARGEST, all slices of one buffer or not;
    wanted: picks of each class. ValueError for a larger class.
    """
    sizes, device = [len(s) for s in similarities], similarities[0].device
    if max(sizes) > LARGEST:
        raise ValueError(f"points of a class must be at most {LARGEST} for engine='triton'; got {max(sizes)}")
    classes, block, most = len(sizes), triton.next_power_of_2(max(max(sizes), R)), max(wanted)
    gain = torch.full((classes, block), -1, dtype=torch.int64, device=device)
    for c, similarity in enumerate(similarities):
        gain[c, : sizes[c]] = grid.sums(similarity)
    # addresses relative to the first matrix, in elements: no copy of the matrices into one buffer
    first = similarities[0]
    start = [(s.data_ptr() - first.data_ptr()) // first.element_size() for s in similarities]
    scratch = torch.empty((3, classes, block), dtype=torch.int32, device=device)
    picks = torch.zeros((classes, most), dtype=torch.int32, device=device)
    gains = torch.zeros((classes, most), dtype=torch.int64, device=device)
    _greedy[(classes,)](
        first, torch.tensor(start, device=device), torch.tensor(sizes, dtype=torch.int32, device=device),
        torch.tensor(wanted, dtype=torch.int32, device=device), gain, *scratch, picks, gains, most,
        BLOCK=block, R=R, num_warps=32 if block >= 4096 else 8,
    )  # fmt: skip
    picks, gains = picks.cpu().long(), gains.cpu()
    return [grid.rebase(s, picks[c, :k], gains[c, :k]) for c, (s, k) in enumerate(zip(similarities, wanted))]
