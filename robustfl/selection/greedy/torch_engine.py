"""Exact greedy facility location in torch operations, on any device.

It is the fallback for GPUs without Triton, and an oracle for tests.
"""

from __future__ import annotations

import torch

from robustfl.selection.greedy import fixed_point

ROWS = 256  # rows subtracted at a time: bounds the temporaries at ROWS * n


def greedy(similarity: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As `numpy_engine.greedy`: picks (k,) and gains (k,), int64 on the CPU.

    Ties go to the lower index. similarity: (n, n) int32, symmetric, in [0, 2**21], on any device.
    Each pick waits for the device twice.
    """
    n = len(similarity)
    best = similarity.new_zeros(n)
    gain = fixed_point.column_sums(similarity)
    index = torch.arange(n, device=similarity.device)
    picks, gains = torch.empty(k, dtype=torch.int64), torch.empty(k, dtype=torch.int64)
    for t in range(k):
        top = gain.max()
        pick = int(torch.where(gain == top, index, n).min())  # argmax names no rule for ties
        picks[t], gains[t] = pick, top

        # subtract what the risen rows lose, as in numpy_engine
        line = similarity[pick]
        for rows in (line > best).nonzero()[:, 0].split(ROWS):
            old, new = best[rows, None], line[rows, None]
            gain -= (similarity[rows].maximum(old).minimum(new) - old).sum(0, dtype=torch.int64)
        best = best.maximum(line)
        gain[pick] = -1
    return fixed_point.shift_gains(similarity, picks, gains)
