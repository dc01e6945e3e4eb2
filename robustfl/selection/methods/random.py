"""A uniform random subset of each class: the baseline that every selection method has to beat."""

from __future__ import annotations

import numpy as np

from robustfl.selection import clusters, validation
from robustfl.selection.distances import ClassPoints, by_class, rows_of_class
from robustfl.selection.result import Selection, join


def select(
    points, labels, ratio: float, rng: np.random.Generator, *, metric: str = "euclidean"
) -> Selection:
    """Per class k points drawn without replacement, in the order drawn; weights: cluster sizes; gains: 0.

    points: (n, d); labels: (n,) or None; rng: numpy Generator. O(m k d) per class of m points, for the weights.
    Raises ValueError as `checks` says.
    """
    points, rng = validation.points(points, metric), validation.generator(rng)
    labels, ratio, parts = validation.labels(labels, len(points)), validation.ratio(ratio), []
    for _, where in by_class(labels):
        picks = rng.permutation(len(where))[: validation.count(ratio, len(where))]
        sizes = clusters.sizes(ClassPoints(rows_of_class(points, where, metric), metric), picks)
        parts.append((where[picks], sizes, np.zeros(len(picks))))
    return join(parts)
