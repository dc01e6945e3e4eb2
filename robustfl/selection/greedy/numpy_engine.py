"""Exact greedy facility location in numpy: it runs everywhere, and states the algorithm plainly."""

from __future__ import annotations

import numpy as np

from robustfl.selection.greedy import fixed_point


def greedy(similarity: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The first k greedy picks for F(S) = sum_i max_{j in S} similarity_ij.

    similarity: (n, n) int32, symmetric, >= 0. Returns picks (k,) int64 and their gains (k,) int64.
    gain[j] = sum_i max(S_ij - best_i, 0) is kept up to date: a pick changes it only through the
    rows i whose best rose. Rule for ties: the larger gain, then the lower index.
    O(n^2 log n) for typical data, O(k n^2) at worst.
    """
    n = len(similarity)
    best = np.zeros(n, dtype=np.int32)
    gain = fixed_point.column_sums(similarity)
    picks, gains = np.empty(k, dtype=np.int64), np.empty(k, dtype=np.int64)

    for t in range(k):
        pick = int(gain.argmax())
        picks[t], gains[t] = pick, gain[pick]

        # a row clipped to [old, new] is what it loses by its new best; 256 bound the temporaries
        rose = np.flatnonzero(similarity[pick] > best)
        for rows in np.array_split(rose, 1 + len(rose) // 256):
            old, new = best[rows, None], similarity[pick, rows][:, None]
            gain -= (np.clip(similarity[rows], old, new) - old).sum(0, dtype=np.int64)
        best[rose] = similarity[pick, rose]
        gain[pick] = -1  # below every gain, and no later pick changes it
    return fixed_point.shift_gains(similarity, picks, gains)
