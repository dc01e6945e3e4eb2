"""What is measured each epoch: test accuracy, and what the selection is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from robustfl.augment import Images
from robustfl.inference import features


@torch.inference_mode()
def evaluate(model: nn.Module, images: Images, labels: torch.Tensor, precision: str = "fp32") -> dict[str, float]:
    """loss (mean cross entropy), top1 and top5 (%) on images without augmentation; the model's mode is restored.

    model: a module with `features` and its last layer `fc`, see `models.ResNet`; labels: (n,) int64.
    """
    logits = model.fc(features(model, images, precision))  # in fp32 whatever the precision of the features
    top5 = logits.topk(5, 1).indices == labels[:, None]  # (n, 5)
    sums = torch.stack([F.cross_entropy(logits, labels, reduction="sum"), top5[:, 0].sum(), top5.sum()]).tolist()
    loss, one, five = (float(v) / len(images) for v in sums)
    return {"loss": loss, "top1": 100 * one, "top5": 100 * five}


@dataclass
class Coverage:
    """How often each point was picked so far, and by how much successive selections agree."""

    counts: np.ndarray  # (n,) int64
    selections: int = 0
    last: np.ndarray | None = None  # (n,) bool, the selection before

    def add(self, indices: np.ndarray) -> float | None:
        """Record a selection; returns the share of it that was in the selection before (None for the first)."""
        now = np.zeros(len(self.counts), dtype=bool)
        now[indices] = True
        overlap = None if self.last is None else float((now & self.last).sum() / now.sum())
        self.counts += now
        self.selections += 1
        self.last = now
        return overlap

    @property
    def share(self) -> float:
        return float((self.counts > 0).mean())


def class_quality(indices: np.ndarray, given: np.ndarray, clean: np.ndarray) -> list[dict]:
    """label_precision and label_recall of a selection for each given class; given, clean: (n,). None where 0 / 0."""
    rows = []
    for c in np.unique(given):
        own = indices[given[indices] == c]
        good, all_good = int(clean[own].sum()), int(clean[given == c].sum())
        rows.append({
            "class": int(c), "selected": len(own), "label_precision": good / len(own) if len(own) else None,
            "label_recall": good / all_good if all_good else None,
        })  # fmt: skip
    return rows


def label_quality(indices: np.ndarray, weights: np.ndarray, clean: np.ndarray) -> dict[str, float | None]:
    """How clean a selection is. indices, weights: (k,); clean: (n,) bool, given label = true label.

    label_precision: share of the picks with a true label; weighted_precision: the same by weight; label_recall: share
    of the correctly labelled points that are picked.
    """
    good = clean[indices]
    return {
        "label_precision": float(good.mean()),
        "weighted_precision": float(weights[good].sum() / weights.sum()) if weights.sum() > 0 else None,
        "label_recall": float(good.sum() / clean.sum()) if clean.any() else None,
    }
