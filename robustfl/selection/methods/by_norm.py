"""Selection by a score of each point, its norm: what pruning methods share. Each method says which points it wants."""

from __future__ import annotations

import numpy as np

from robustfl.selection import clusters, validation
from robustfl.selection.distances import ClassPoints, by_class, rows_of_class
from robustfl.selection.outer import OuterProducts, double, each
from robustfl.selection.result import Selection, join


def select(points, labels, ratio: float, metric: str, largest: bool) -> Selection:
    """Per class the points of largest (or smallest) L2 norm, in that order; ties go to the lower index.

    points: (n, d), or OuterProducts; labels: (n,) or None. weights: cluster sizes;
    gains: the norms. O(m d + m log m) per class of m points, and O(m k d) for the weights.
    Raises ValueError as `checks` says.
    """
    points = validation.points(points, metric)
    labels, ratio, parts = validation.labels(labels, len(points)), validation.ratio(ratio), []
    for _, where in by_class(labels):
        own = rows_of_class(points, where, metric)
        cloud = ClassPoints(own, metric)  # first: it refuses points whose norms would overflow
        norms = _norms(each(clusters.host(own), double))
        picks = np.argsort(-norms if largest else norms, kind="stable")[
            : validation.count(ratio, len(where))
        ]
        parts.append((where[picks], clusters.sizes(cloud, picks), norms[picks]))
    return join(parts)


def _norms(points) -> np.ndarray:
    """(m,) L2 norms of numpy points; of an outer product, the product of its factors' norms."""
    if isinstance(points, OuterProducts):
        return _norms(points.left) * _norms(points.right)
    return np.linalg.norm(points, axis=1)
