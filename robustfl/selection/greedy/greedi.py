"""Facility location for a class whose (m, m) matrix is too large: greedy on random parts, then greedy on what they chose.

Mirzasoleiman, Karbasi, Sarkar and Krause, "Distributed submodular maximization: identifying representative elements in
massive data", NeurIPS 2013 (GreeDi). With random parts, k picks from each and the objective of the whole class, Barbosa,
Ene, Nguyen and Ward, "The power of randomization", ICML 2015, show E[F] >= (1 - 1/e) / 2 of the best. Here each part sees
its own points only, and gives as many candidates as the last round can hold, so the bound is a guide, not a promise.
"""

from __future__ import annotations

import math

import numpy as np

from robustfl.selection.distances import ClassPoints, rows_of_class
from robustfl.selection.greedy.dispatch import exact


def greedy(
    points, k: int, largest: int, metric: str, engine: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(picks (k,) int64, gains (k,) float64) of one class of m > largest points; matrices of at most largest^2 entries.

    k <= largest / 2: every part gives largest / parts candidates, and a greedy among all of them, which sees the candidates
    only, decides. Larger k: every part gives its share of k, merged by gain. O(m largest d) time for the matrices.
    """
    m, parts = len(points), []
    count = math.ceil(m / largest)
    pieces = [np.sort(piece) for piece in np.array_split(rng.permutation(m), count)]
    again = k <= largest // 2
    total = largest if again else k
    shares = np.diff(
        np.floor(
            np.cumsum([0] + [len(piece) for piece in pieces]) * min(1.0, total / m) + 1e-9
        ).astype(int)
    )
    for piece, share in zip(pieces, shares):
        if share:
            [(picks, gains)] = exact(
                [ClassPoints(rows_of_class(points, piece, metric), metric)], [int(share)], engine
            )
            parts.append((piece[picks], gains))
    picks, gains = (np.concatenate(column) for column in zip(*parts))
    if again:
        order = np.sort(picks)
        [(chosen, gains)] = exact(
            [ClassPoints(rows_of_class(points, order, metric), metric)], [k], engine
        )
        return order[chosen], gains
    order = np.lexsort((picks, -gains))[:k]
    return picks[order], gains[order]
