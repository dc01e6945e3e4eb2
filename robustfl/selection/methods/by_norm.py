"""Selection by a score of each point, its norm: what pruning methods share.

Each method says whether it wants the largest or the smallest.
"""

from __future__ import annotations

import numpy as np

from robustfl.selection import per_class
from robustfl.selection.arrays import double
from robustfl.selection.outer import OuterProducts, each, host
from robustfl.selection.result import Selection


def select(points, labels, ratio: float, metric: str, largest: bool) -> Selection:
    """Per class the points of largest (or smallest) L2 norm, in that order.

    Ties go to the lower index. gains: the norms. O(m d + m log m) per class of m points.
    Other arguments, weights and errors: as for `per_class.select`.
    """

    def rank(members: per_class.Members) -> tuple[np.ndarray, np.ndarray]:
        # in float64, and on the CPU, where ties keep their order
        norms = _norms(each(host(members.points), double))
        picks = np.argsort(-norms if largest else norms, kind="stable")[: members.k]
        return picks, norms[picks]

    return per_class.select(points, labels, ratio, metric, rank)


def _norms(points) -> np.ndarray:
    """(m,) L2 norms of numpy points; of an outer product, the product of its factors' norms.

    Raises ValueError for norms beyond float64.
    """
    with np.errstate(over="ignore"):
        if isinstance(points, OuterProducts):
            norms = _norms(points.left) * _norms(points.right)
        else:
            # a power of two changes no digit, and keeps the squares within float64
            exponent = np.frexp(abs(points).max())[1]
            scale = np.ldexp(1.0, min(exponent, 1023))
            norms = np.linalg.norm(points / scale, axis=1) * scale
    if not np.isfinite(norms).all():
        raise ValueError("points must have lengths that float64 can hold; got one beyond it")
    return norms
