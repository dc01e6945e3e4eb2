"""Forgetting events: drop the points that training forgot least.

Source: Toneva et al., "An Empirical Study of Example Forgetting During Deep Neural Network
Learning", ICLR 2019, algorithms 1 and 2: train once on everything, count for each point how often
it went from right to wrong, rank points never learned highest, remove the least forgotten, train
anew. Use space `forgetting` with `pretrained`: the counts of the finished pretraining run. Here per
class, as every selector of the suite.
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
    """The most forgotten points of each class, see `by_norm.select`.

    points: (n, 1) counts; rng is not used.
    """
    return by_norm.select(points, labels, ratio, metric, largest=True)
