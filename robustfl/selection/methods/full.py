"""Everything: the full training set as a selection, run through the same code as the subsets."""

from __future__ import annotations

import numpy as np

from robustfl.selection import validation
from robustfl.selection.distances import by_class
from robustfl.selection.result import Selection, join


def select(
    points,
    labels,
    ratio: float,
    rng: np.random.Generator | None,
    *,
    metric: str = "euclidean",
) -> Selection:
    """All points, in index order within each class; weights: 1; gains: 0.

    points: (n, d); labels: (n,) or None; ratio and rng are not used. No distance is computed.
    Raises ValueError for points that are not finite and for labels that are not n integers.
    """
    points = validation.points(points, metric)
    labels = validation.labels(labels, len(points))
    return join(
        [(where, np.ones(len(where)), np.zeros(len(where))) for _, where in by_class(labels)]
    )
