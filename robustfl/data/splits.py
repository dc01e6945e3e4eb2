"""Parts of a data set: a stratified subset, and points held out of training."""

from __future__ import annotations

import numpy as np


def stratified(labels: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Sorted indices of `size` points (0 = all), each class with its share.

    labels: (n,) class numbers. The largest remainders fill up. The generator is drawn from only
    where points are left out.

    >>> labels = np.array([0, 0, 0, 0, 1, 1])
    >>> labels[stratified(labels, 3, np.random.default_rng(0))].tolist()
    [0, 0, 1]
    """
    if not size or size >= len(labels):
        return np.arange(len(labels))

    # position within its class as a share of the class: the smallest shares are taken
    order = generator.permutation(len(labels))
    rank = np.empty(len(labels))
    for c in np.unique(labels):
        members = order[labels[order] == c]
        rank[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(np.argsort(rank, kind="stable")[:size])


def hold_out(
    points: np.ndarray, share: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """points (n,) -> (kept, held out), both sorted; round(share * n) points are held out.

    The points keep their classes' shares on average alone: what is held out is drawn evenly.
    """
    size = round(share * len(points))
    shuffled = generator.permutation(points)
    return np.sort(shuffled[size:]), np.sort(shuffled[:size])
