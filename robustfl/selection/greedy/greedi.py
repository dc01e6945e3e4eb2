"""Facility location for a class whose (m, m) matrix is too large: greedy by random parts.

Greedy runs on random parts of the class, then on what they chose.
Mirzasoleiman, Karbasi, Sarkar and Krause, "Distributed submodular maximization: identifying
representative elements in massive data", NeurIPS 2013 (GreeDi). With random parts, k picks from
each and the objective of the whole class, Barbosa, Ene, Nguyen and Ward, "The power of
randomization", ICML 2015, show E[F] >= (1 - 1/e) / 2 of the best. Here each part sees its own
points only, and gives as many candidates as the last round can hold, so the bound is a guide, not
a promise.
"""

from __future__ import annotations

import math

import numpy as np

from robustfl.selection.distances import ClassPoints, rows_of_class
from robustfl.selection.greedy.dispatch import exact


def greedy(
    points, k: int, largest: int, metric: str, engine: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(picks (k,) int64, gains (k,) float64) of one class of m > largest points.

    k <= largest / 2: every part gives largest / parts candidates, and a greedy among all of them,
    which sees the candidates only, decides. Larger k: every part gives its share of k, merged by
    gain. Matrices have at most largest^2 entries; O(m largest d) time for them.
    """

    def picks_among(where: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        cloud = ClassPoints(rows_of_class(points, where, metric), metric)
        [(picks, gains)] = exact([cloud], [count], engine)
        return where[picks], gains

    # greedy within each random part
    again = k <= largest // 2
    m = len(points)
    order = rng.permutation(m)
    pieces = [np.sort(piece) for piece in np.array_split(order, math.ceil(m / largest))]
    shares = _shares([len(piece) for piece in pieces], largest if again else k)
    parts = [picks_among(piece, share) for piece, share in zip(pieces, shares) if share]
    picks, gains = (np.concatenate(column) for column in zip(*parts))

    # a last round decides, or the gains do
    if again:
        return picks_among(np.sort(picks), k)
    best = np.lexsort((picks, -gains))[:k]
    return picks[best], gains[best]


def _shares(sizes: list[int], total: int) -> list[int]:
    """How many of `total` candidates each part gives: proportional to its size, never more."""
    # the ends of the parts, scaled from points to candidates and rounded down: no part gives
    # more candidates than it has points
    ends = np.cumsum([0, *sizes])
    scale = min(1.0, total / ends[-1])
    return np.diff(np.floor(ends * scale + 1e-9).astype(int)).tolist()
