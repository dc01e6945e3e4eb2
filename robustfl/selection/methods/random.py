"""A uniform random subset of each class: the baseline that every selection method has to beat."""

from __future__ import annotations

import numpy as np

from robustfl.selection import per_class, validation
from robustfl.selection.result import Selection


def select(
    points,
    labels,
    ratio: float,
    rng: np.random.Generator | None,
    *,
    metric: str = "euclidean",
) -> Selection:
    """Per class k points drawn without replacement, in the order drawn; gains: 0.

    Arguments, weights and errors: as for `per_class.select`; rng: ValueError unless a Generator.
    """
    generator = validation.generator(rng)

    def draw(members: per_class.Members) -> tuple[np.ndarray, np.ndarray]:
        picks = generator.permutation(len(members.cloud))[: members.k]
        return picks, np.zeros(len(picks))

    return per_class.select(points, labels, ratio, metric, draw)
