"""The points that selection clusters: per-sample gradients in closed form, by one forward pass.

For cross entropy on logits z = W h + b, the gradient with respect to the penultimate features h of a point's own loss
(never a batch mean: radii are measured in these units) is W^T (softmax(z) - onehot(y)).
Source: Katharopoulos and Fleuret, ICML 2018; Mirzasoleiman, Cao, Leskovec, NeurIPS 2020, section 3.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from robustfl.augment import Images
from robustfl.inference import features


@torch.inference_mode()
def points(model: nn.Module, images: Images, labels: torch.Tensor, space: str, precision: str = "fp32") -> torch.Tensor:
    """(n, d) float32 on the images' device: `gradient` (d = 64), `logit` (p - y, d = classes), `feature` (d = 64) or
    `loss` (d = 1, each point's cross entropy).

    model: a module with `features` and its last layer `fc`, see `models.ResNet`. labels: (n,) int64, the given ones. Eval mode, no augmentation; the model's mode is restored.
    precision: of the features; logits and gradients are in fp32. Raises ValueError for an unknown space.
    """
    if space not in ("gradient", "logit", "feature", "loss"):
        raise ValueError(f"space must be one of gradient, logit, feature, loss; got {space!r}")
    penultimate = features(model, images, precision)
    if space == "feature":
        return penultimate
    logits = model.fc(penultimate)
    if space == "loss":
        return F.cross_entropy(logits, labels, reduction="none")[:, None]
    residual = F.softmax(logits, 1) - F.one_hot(labels, logits.shape[1])  # (n, classes)
    return residual @ model.fc.weight if space == "gradient" else residual
