"""Exact greedy facility location, class by class.

F(S) = sum_i max_{j in S} (c - d_ij) over the points i of a class, c the largest distance within the class.
Nemhauser, Wolsey and Fisher, "An analysis of approximations for maximizing submodular set functions", 1978: the greedy
set is worth at least 1 - 1/e of the best set of its size. Mirzasoleiman, Bilmes and Leskovec, "Coresets for
data-efficient training of machine learning models", ICML 2020, use it on gradients.
"""

from __future__ import annotations

import numpy as np

from robustfl.selection import checks, clusters, grid
from robustfl.selection.distances import Cloud, classes, gather
from robustfl.selection.greedy_numpy import greedy
from robustfl.selection.result import Selection, join


def select(points, labels, ratio: float, rng: np.random.Generator, *, metric: str = "euclidean") -> Selection:
    """Greedy picks of each class, in greedy order; weights: cluster sizes; gains: F gained, non-increasing.

    points: (n, d); labels: (n,) or None; rng is not used: the method is deterministic, ties go to the lower index.
    Distances are put on a grid of 21 bits (see `grid`), and the greedy is exact on it.
    Per class of m points: O(m^2 d) for the distances, O(m^2 log m) typically for the greedy, 4 m^2 bytes.
    Raises ValueError as `checks` says.
    """
    points = checks.points(points, metric)
    labels, ratio, parts = checks.labels(labels, len(points)), checks.ratio(ratio), []
    for _, where in classes(labels):
        cloud = Cloud(gather(points, where, metric), metric)
        similarity, step = grid.similarity(clusters.host(cloud.matrix()))
        picks, gains = greedy(similarity, checks.count(ratio, len(where)))
        parts.append((where[picks], clusters.sizes(cloud, picks), gains * step))
    return join(parts)
