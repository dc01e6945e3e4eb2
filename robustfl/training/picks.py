"""The contents of picks.json: the points picked most and least often, with their pixels."""

from __future__ import annotations

import base64
import zlib

import numpy as np

from robustfl.training.augment import PAD
from robustfl.training.data import Data
from robustfl.training.metrics import Coverage

SHOWN = 8  # points of each kind


def without_points(coverage: Coverage) -> dict:
    """The contents where no points are shown."""
    return {"selections": coverage.selections, "shape": [], "most": [], "least": []}


def most_and_least(coverage: Coverage, data: Data) -> dict:
    """SHOWN points of each kind, with their counts, labels and pixels; `shape`: (H, W, C).

    Pixels are uint8, compressed by zlib and in base64. No points are shown after a single
    selection, or where all points have the same count: then no picked point was picked more often
    than another one.
    """
    counts = coverage.counts
    if coverage.selections < 2 or counts.min() == counts.max():
        return without_points(coverage)

    pixels = data.images.pixels[:, PAD:-PAD, PAD:-PAD]
    given = data.given_labels.cpu().numpy()
    true = data.true_labels.cpu().numpy()

    def point(i: int) -> dict:
        packed = zlib.compress(pixels[i].cpu().numpy().tobytes(), 9)
        return {
            "count": int(counts[i]),
            "given": int(given[i]),
            "true": int(true[i]),
            "pixels": base64.b64encode(packed).decode(),
        }

    # a stable sort, so that ties show the same points on every machine
    order = np.argsort(-counts, kind="stable")
    return {
        "selections": coverage.selections,
        "shape": list(pixels.shape[1:]),
        "most": [point(i) for i in order[:SHOWN]],
        "least": [point(i) for i in order[::-1][:SHOWN]],
    }
