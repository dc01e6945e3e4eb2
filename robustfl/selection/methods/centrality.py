"""The points most similar to all others: what the released code of CRUST selects.

Mirzasoleiman, Cao and Leskovec, "Coresets for robust training of neural networks against noisy labels", NeurIPS 2020,
describe greedy facility location. In their released code the increment of a candidate is F(S + j), not F(S + j) - F(S),
so every popped element is accepted and the result is the top k points by similarity row sum.
"""

from __future__ import annotations

import numpy as np

from robustfl.selection import clusters, validation
from robustfl.selection.distances import ClassPoints, by_class, rows_of_class
from robustfl.selection.greedy import dispatch, fixed_point
from robustfl.selection.result import Selection, join


def select(
    points, labels, ratio: float, rng: np.random.Generator, *, metric: str = "euclidean"
) -> Selection:
    """Per class the k points j of largest sum_i (c - d_ij), largest first; ties to the lower index.

    points: (n, d); labels: (n,) or None; rng is not used. weights: cluster sizes; gains: the row sums.
    Distances are on the grid of `grid`. O(m^2 d) per class of m points. Raises ValueError as `checks` says.
    """
    points = validation.points(points, metric)
    labels, ratio, parts = validation.labels(labels, len(points)), validation.ratio(ratio), []
    engine = dispatch.resolve("auto", points)
    groups = [where for _, where in by_class(labels)]
    clouds = [ClassPoints(rows_of_class(points, where, metric), metric) for where in groups]
    for where, cloud, (similarity, step) in zip(
        groups, clouds, dispatch.similarities(clouds, engine)
    ):
        total = clusters.host(fixed_point.column_sums(similarity)) - len(where) * int(
            similarity.min()
        )
        picks = np.argsort(-total, kind="stable")[: validation.count(ratio, len(where))]
        parts.append((where[picks], clusters.sizes(cloud, picks), total[picks] * step))
    return join(parts)
