"""EL2N: keep the points whose error vector p - y is longest.

Source: Paul, Ganguli, Dziugaite, "Deep Learning on a Data Diet", NeurIPS 2021: scores from early
training (their figure 1), pruning the lowest. Here the score is the L2 norm of the points given:
use space `logit`, which is p - y.
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
    """The longest points of each class, longest first, see `by_norm.select`; rng is not used."""
    return by_norm.select(points, labels, ratio, metric, largest=True)
