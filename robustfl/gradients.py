"""The points that selection clusters: per-sample gradients in closed form, by one forward pass.

For cross entropy on logits z = W h + b, the gradient with respect to the penultimate features h of a point's own loss
(never a batch mean: radii are measured in these units) is W^T (softmax(z) - onehot(y)).
Source: Katharopoulos and Fleuret, ICML 2018; Mirzasoleiman, Cao, Leskovec, NeurIPS 2020, section 3.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import nn
from torch.nn import functional as F

from robustfl.augment import Images

BATCH = 1000  # images a forward pass: memory, not results


def autocast(device: torch.device, precision: str):
    """bf16 autocast, or nothing for fp32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


@torch.inference_mode()
def points(model: nn.Module, images: Images, labels: torch.Tensor, space: str, precision: str = "fp32") -> torch.Tensor:
    """(n, d) float32 on the images' device: `gradient` (d = 64), `logit` (p - y, d = classes) or `feature` (d = 64).

    labels: (n,) int64, the given ones. Eval mode, no augmentation; the model's mode is restored.
    Raises ValueError for an unknown space.
    """
    if space not in ("gradient", "logit", "feature"):
        raise ValueError(f"space must be one of gradient, logit, feature; got {space!r}")
    training = model.training
    model.eval()
    out = []
    for start in range(0, len(images), BATCH):
        with autocast(labels.device, precision):
            features = model.features(images.plain(start, start + BATCH))
        features = features.float()
        if space == "feature":
            out.append(features)
            continue
        residual = F.softmax(model.fc(features), 1)  # (b, classes), in fp32 whatever the precision of the features
        residual -= F.one_hot(labels[start : start + BATCH], residual.shape[1])
        out.append(residual @ model.fc.weight if space == "gradient" else residual)
    model.train(training)
    return torch.cat(out)
