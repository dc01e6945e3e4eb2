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
from robustfl.selection.distances import ClassPoints
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
        total, step = _row_sums(members, metric)
        picks = np.argsort(-total, kind="stable")[: members.k]
        fixed_point.warn_where_coarse("centrality", [members.cloud], [(picks, 0 * picks)])
        return picks, total[picks] * step

    return per_class.select(points, labels, ratio, metric, rank)


def _row_sums(members: per_class.Members, metric: str) -> tuple[np.ndarray, float]:
    """((m,) sum_i (c - d_ij) of each point j in steps of the grid, step); c: largest distance."""
    engine = dispatch.resolve("auto", members.points)
    need = dispatch.entry(engine, metric, members.points) * len(members.cloud) ** 2
    if 2 * need <= dispatch.free(engine, members.points):
        try:
            [(similarity, step)] = dispatch.similarities([members.cloud], engine)
        except MemoryError:
            return row_sums_by_blocks(members.cloud)
        # from the smallest similarity of the class, which belongs to its largest distance
        smallest = len(members.cloud) * int(similarity.min())
        return to_numpy(fixed_point.column_sums(similarity)) - smallest, step
    return row_sums_by_blocks(members.cloud)


def row_sums_by_blocks(cloud: ClassPoints) -> tuple[np.ndarray, float]:
    """As the sums over the whole matrix, to the last digit, without one: slower, O(m) memory.

    The matrix mirrors its upper triangle, so each block of that is summed along both sides.
    """
    m = len(cloud)
    total = np.zeros(m, dtype=np.int64)
    step, smallest = fixed_point.quantum(cloud.max_distance)
    for rows, distances in cloud.upper_blocks():
        block, step = fixed_point.similarity(distances, cloud.max_distance)
        smallest = min(smallest, int(block.min()))
        total[rows.start :] += to_numpy(fixed_point.column_sums(block))
        # right of the rows' own square, each entry stands for its mirror image too
        beyond = block[:, rows.stop - rows.start :]
        total[rows] += to_numpy(fixed_point.column_sums(beyond.T))
    return total - m * smallest, step
