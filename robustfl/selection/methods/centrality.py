"""The points most similar to all others: what the released code of CRUST selects.

Mirzasoleiman, Cao and Leskovec, "Coresets for robust training of neural networks against noisy
labels", NeurIPS 2020, describe greedy facility location. In their released code the increment of a
candidate is F(S + j), not F(S + j) - F(S), so every popped element is accepted and the result is
the top k points by similarity row sum.
"""

from __future__ import annotations

import numpy as np

from robustfl.selection import per_class
from robustfl.selection.arrays import to_numpy
from robustfl.selection.greedy import dispatch, fixed_point
from robustfl.selection.result import Selection


def select(
    points,
    labels,
    ratio: float,
    rng: np.random.Generator | None,
    *,
    metric: str = "euclidean",
) -> Selection:
    """Per class the k points j of largest sum_i (c - d_ij), largest first; c: largest distance.

    Ties go to the lower index; rng is not used. gains: the row sums, of distances on the grid of
    `greedy.fixed_point`. O(m^2 d) per class of m points.
    Other arguments, weights and errors: as for `per_class.select`.
    """

    def rank(members: per_class.Members) -> tuple[np.ndarray, np.ndarray]:
        engine = dispatch.resolve("auto", members.points)
        [(similarity, step)] = dispatch.similarities([members.cloud], engine)
        # from the smallest similarity of the class, which belongs to its largest distance
        smallest = len(members.cloud) * int(similarity.min())
        total = to_numpy(fixed_point.column_sums(similarity)) - smallest
        picks = np.argsort(-total, kind="stable")[: members.k]
        fixed_point.warn_where_coarse("centrality", [members.cloud], [(picks, 0 * picks)])
        return picks, total[picks] * step

    return per_class.select(points, labels, ratio, metric, rank)
