"""What is measured each epoch: test accuracy, and what the selection is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from robustfl.training.augment import Images
from robustfl.training.embeddings import Pass
from robustfl.training.inference import features


@torch.inference_mode()
def evaluate(
    model: nn.Module, images: Images, labels: torch.Tensor, precision: str = "fp32"
) -> dict[str, float]:
    """loss (mean cross entropy), top1 and top5 (%) on images without augmentation; the model's mode is restored.

    model: a module with `features` and its last layer `fc`, see `models.ResNet`; labels: (n,) int64.
    """
    logits = model.fc(
        features(model, images, precision)
    )  # in fp32 whatever the precision of the features
    top5 = logits.topk(5, 1).indices == labels[:, None]  # (n, 5)
    sums = torch.stack(
        [F.cross_entropy(logits, labels, reduction="sum"), top5[:, 0].sum(), top5.sum()]
    ).tolist()
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
        rows.append(
            {
                "class": int(c),
                "selected": len(own),
                "label_precision": good / len(own) if len(own) else None,
                "label_recall": good / all_good if all_good else None,
            }
        )
    return rows


def label_quality(
    indices: np.ndarray, weights: np.ndarray, clean: np.ndarray
) -> dict[str, float | None]:
    """How clean a selection is. indices, weights: (k,); clean: (n,) bool, given label = true label.

    label_precision: share of the picks with a true label; weighted_precision: the same by weight; label_recall: share
    of the correctly labelled points that are picked.
    """
    good = clean[indices]
    return {
        "label_precision": float(good.mean()),
        "weighted_precision": float(weights[good].sum() / weights.sum())
        if weights.sum() > 0
        else None,
        "label_recall": float(good.sum() / clean.sum()) if clean.any() else None,
    }


def effective_size(weights: np.ndarray) -> float | None:
    """(sum w)^2 / (k sum w^2) of weights (k,): the share of a subset that its weights leave in effect, 1 where all
    are equal; None where they are all 0. Source: Kish, "Survey Sampling", 1965."""
    square = float((weights**2).sum())
    return float(weights.sum()) ** 2 / (len(weights) * square) if square > 0 else None


def training_fit(hits: torch.Tensor, clean: torch.Tensor) -> dict[str, float | None]:
    """% of the training set whose given label the model predicts: of all points (`fit`), of those whose given label
    is true (`fit_true`) and false (`fit_false`, which is memorisation). hits, clean: (n,) bool. None where 0 / 0."""
    counts = torch.stack([hits.sum(), (hits & clean).sum(), clean.sum()]).tolist()
    right, right_clean, true = counts
    false = len(hits) - true
    return {
        "fit": 100 * right / len(hits),
        "fit_true": 100 * right_clean / true if true else None,
        "fit_false": 100 * (right - right_clean) / false if false else None,
    }


def gradient_quality(
    seen: Pass, indices: torch.Tensor, weights: torch.Tensor
) -> dict[str, float | None]:
    """`gradient_error`: |g_S - g| / |g|, g the mean gradient of the last layer over all points, g_S its weighted mean
    over the subset. indices, weights: (k,), on the CPU. None where g is 0.

    Source: the quantity that Mirzasoleiman, Bilmes and Leskovec, "Coresets for data-efficient training", ICML 2020,
    bound in theorem 1.
    """
    n, device = len(seen.labels), seen.labels.device
    everything = torch.arange(n, device=device)
    whole = seen.mean_gradient(everything, torch.ones(n, device=device))
    subset = seen.mean_gradient(indices.to(device), weights.to(device))
    size = float(whole.norm())
    return {"gradient_error": float((subset - whole).norm()) / size if size > 0 else None}
