"""What every selector returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Selection:
    """A weighted subset, sorted by class and, within a class, in the order of the picks.

    indices: (k,) int64, unique positions in the points given.
    weights: (k,) float64, how many points each pick stands for (the selector's docstring says in
      which sense).
    gains: (k,) float64, what the pick added to the method's objective when it was picked; 0 where
      there is none.
    radius: the cover radius that `set_cover` used, in units of the metric; None for every other
      method.

    >>> import robustfl
    >>> picked = robustfl.select([[0.0], [1.0], [5.0]], ratio=0.7)
    >>> len(picked), picked.indices.tolist(), picked.weights.tolist()
    (2, [1, 2], [2.0, 1.0])
    """

    indices: np.ndarray
    weights: np.ndarray
    gains: np.ndarray
    radius: float | None = None

    def __len__(self) -> int:
        return len(self.indices)


def join(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Selection:
    """One Selection from (indices, weights, gains) of each class, in the order of the classes."""
    indices, weights, gains = (np.concatenate(column) for column in zip(*parts))
    return Selection(indices.astype(np.int64), weights.astype(np.float64), gains.astype(np.float64))
