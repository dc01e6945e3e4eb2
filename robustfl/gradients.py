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

BATCH = {"cpu": 100, "cuda": 2000}  # images a forward pass: on a CPU activations must stay in its caches (half the time of 1000)


def autocast(device: torch.device, precision: str):
    """bf16 autocast, or nothing for fp32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


@torch.inference_mode()
def points(model: nn.Module, images: Images, labels: torch.Tensor, space: str, precision: str = "fp32") -> torch.Tensor:
    """(n, d) float32 on the images' device: `gradient` (d = 64), `logit` (p - y, d = classes), `feature` (d = 64) or
    `loss` (d = 1, each point's cross entropy).

    labels: (n,) int64, the given ones. Eval mode, no augmentation; the model's mode is restored.
    Raises ValueError for an unknown space.
    """
    if space not in ("gradient", "logit", "feature", "loss"):
        raise ValueError(f"space must be one of gradient, logit, feature, loss; got {space!r}")
    training = model.training
    model.eval()
    out = []
    batch = BATCH[labels.device.type]
    for start in range(0, len(images), batch):
        with autocast(labels.device, precision):
            features = model.features(images.plain(start, start + batch))
        features = features.float()
        if space == "feature":
            out.append(features)
            continue
        logits, y = model.fc(features), labels[start : start + batch]  # in fp32 whatever the precision of the features
        if space == "loss":
            out.append(F.cross_entropy(logits, y, reduction="none")[:, None])
            continue
        residual = F.softmax(logits, 1) - F.one_hot(y, logits.shape[1])  # (b, classes)
        out.append(residual @ model.fc.weight if space == "gradient" else residual)
    model.train(training)
    return torch.cat(out)
