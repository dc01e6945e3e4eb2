"""Small-loss selection: keep the points of smallest loss, which are more often labelled correctly.

Source: Han et al., "Co-teaching", NeurIPS 2018: each network keeps the share R = 1 - noise rate of
smallest loss. Here one network selects for itself, per class and epoch. Use space `loss`, and
ratio = 1 - noise rate.
"""

from __future__ import annotations

import numpy as np

from robustfl.selection.methods import by_norm
from robustfl.selection.result import Selection


def select(
    points,
    labels,
    ratio: float,
    rng: np.random.Generator | None,
    *,
    metric: str = "euclidean",
) -> Selection:
    """The points of each class of smallest norm (for (n, 1) losses: of smallest loss).

    See `by_norm.select`; rng is not used.
    """
    return by_norm.select(points, labels, ratio, metric, largest=False)
