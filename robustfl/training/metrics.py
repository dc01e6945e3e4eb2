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
from robustfl.training.resnet import last_layer

Columns = dict[str, float | None]  # values of a row of curves.csv, by column


@torch.inference_mode()
def evaluate(
    model: nn.Module, images: Images, labels: torch.Tensor, precision: str = "fp32"
) -> dict[str, float]:
    """loss (mean cross entropy), top1 and top5 (%) on n images without augmentation.

    The model runs in eval mode, and its own mode is restored.

    model: a module with `features` and its last layer `fc`, see `resnet.ResNet`; labels: (n,)
    int64. precision: of the features; logits are in fp32.
    """
    logits = last_layer(model)(features(model, images, precision))
    top5 = logits.topk(5, 1).indices == labels[:, None]  # (n, 5)
    loss_sum = F.cross_entropy(logits, labels, reduction="sum")

    # one synchronisation with the device for all three
    sums = torch.stack([loss_sum, top5[:, 0].sum(), top5.sum()]).tolist()
    loss, one, five = (float(v) / len(images) for v in sums)
    return {"loss": loss, "top1": 100 * one, "top5": 100 * five}


@dataclass
class Coverage:
    """How often each point was picked so far, and by how much successive selections agree."""

    counts: np.ndarray  # (n,) int64
    selections: int = 0
    last: np.ndarray | None = None  # (n,) bool, the latest selection; None before the first

    def add(self, indices: np.ndarray) -> float | None:
        """Count a selection of (k,) points.

        Returns the share of it that was in the selection before; None for the first one.
        """
        now = np.zeros(len(self.counts), dtype=bool)
        now[indices] = True
        overlap = None if self.last is None else float((now & self.last).sum() / now.sum())
        self.counts += now
        self.selections += 1
        self.last = now
        return overlap

    @property
    def share(self) -> float:
        """The share of all points that were picked at least once."""
        return float((self.counts > 0).mean())


def class_quality(indices: np.ndarray, given: np.ndarray, clean: np.ndarray) -> list[dict]:
    """The rows of classes.csv: label_precision and label_recall of a selection, class by class.

    indices: (k,); given: (n,) labels; clean: (n,) bool, given label = true label. A share of
    nothing is None.
    """
    rows = []
    for c in np.unique(given):
        picks = indices[given[indices] == c]
        good = int(clean[picks].sum())
        all_good = int(clean[given == c].sum())
        rows.append(
            {
                "class": int(c),
                "selected": len(picks),
                "label_precision": good / len(picks) if len(picks) else None,
                "label_recall": good / all_good if all_good else None,
            }
        )
    return rows


def label_quality(indices: np.ndarray, weights: np.ndarray, clean: np.ndarray) -> Columns:
    """How clean a selection is. indices, weights: (k,); clean: (n,) bool, given label = true label.

    label_precision: share of the picks with a true label; weighted_precision: the same by weight;
    label_recall: share of the correctly labelled points that are picked. A share of nothing is
    None.

    >>> clean = np.array([True, True, False])
    >>> label_quality(np.array([0, 2]), np.array([3.0, 1.0]), clean)
    {'label_precision': 0.5, 'weighted_precision': 0.75, 'label_recall': 0.5}
    """
    good = clean[indices]
    total = weights.sum()
    return {
        "label_precision": float(good.mean()),
        "weighted_precision": float(weights[good].sum() / total) if total > 0 else None,
        "label_recall": float(good.sum() / clean.sum()) if clean.any() else None,
    }


def effective_size(weights: np.ndarray) -> float | None:
    """The share of a subset that its weights leave in effect: (sum w)^2 / (k sum w^2).

    weights: (k,). 1 where all weights are equal; None where they are all 0. Source: Kish, "Survey
    Sampling", 1965.

    >>> effective_size(np.array([1.0, 1.0, 1.0, 1.0])), effective_size(np.array([4.0, 0.0]))
    (1.0, 0.5)
    """
    square = float((weights**2).sum())
    return float(weights.sum()) ** 2 / (len(weights) * square) if square > 0 else None


def training_fit(hits: torch.Tensor, clean: torch.Tensor) -> Columns:
    """% of the training set whose given label the model predicts.

    fit: of all points; fit_true: of those whose given label is true; fit_false: of the others,
    which is memorisation. hits, clean: (n,) bool. A share of nothing is None.
    """
    # one synchronisation with the device for all three
    counts = torch.stack([hits.sum(), (hits & clean).sum(), clean.sum()]).tolist()
    right, right_clean, true = counts
    false = len(hits) - true
    return {
        "fit": 100 * right / len(hits),
        "fit_true": 100 * right_clean / true if true else None,
        "fit_false": 100 * (right - right_clean) / false if false else None,
    }


def gradient_quality(seen: Pass, indices: torch.Tensor, weights: torch.Tensor) -> Columns:
    """`gradient_error`: |g_S - g| / |g|, or None where g is 0.

    g is the mean gradient of the last layer over all points, g_S its weighted mean over the subset.
    indices, weights: (k,), on the CPU.
    Source: the quantity that Mirzasoleiman, Bilmes and Leskovec, "Coresets for data-efficient
    training", ICML 2020, bound in theorem 1.
    """
    n = len(seen.labels)
    device = seen.labels.device
    everything = torch.arange(n, device=device)
    whole = seen.mean_gradient(everything, torch.ones(n, device=device))
    subset = seen.mean_gradient(indices.to(device), weights.to(device))
    size = float(whole.norm())
    return {"gradient_error": float((subset - whole).norm()) / size if size > 0 else None}
