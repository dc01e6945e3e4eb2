"""The points that selection clusters: per-sample gradients in closed form, by one forward pass.

For cross entropy on logits z = W h + b, the gradient of a point's own loss (never a batch mean:
radii are measured in these units) with respect to the logits is the residual
r = softmax(z) - onehot(y); with respect to the penultimate features h it is W^T r; with respect to
the last layer's weights and bias it is the outer product of r and [h, 1].
Source: Katharopoulos and Fleuret, ICML 2018; Mirzasoleiman, Cao, Leskovec, NeurIPS 2020, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from robustfl.selection import OuterProducts
from robustfl.training import augment
from robustfl.training.augment import Images
from robustfl.training.inference import autocast, features
from robustfl.training.resnet import feature_function, last_layer

EMBEDDINGS = ("gradient", "logit", "last_layer", "feature", "loss")


@dataclass(frozen=True)
class Pass:
    """One forward pass over n images. All tensors are on the images' device, the floats in fp32."""

    features: torch.Tensor  # (n, d) penultimate features
    logits: torch.Tensor  # (n, classes)
    labels: torch.Tensor  # (n,) int64, the given ones
    last: torch.Tensor  # (classes, d) weight of the last layer
    scale: torch.Tensor | None = None  # (n,) factor of each point's gradient; None = 1

    @property
    def residual(self) -> torch.Tensor:
        """(n, classes) gradient of each point's loss with respect to its logits."""
        residual = F.softmax(self.logits, 1) - F.one_hot(self.labels, self.logits.shape[1])
        return residual if self.scale is None else residual * self.scale[:, None]

    @property
    def hits(self) -> torch.Tensor:
        """(n,) bool: is the given label the one with the highest score?"""
        return self.logits.argmax(1) == self.labels

    def points(self, space: str) -> torch.Tensor | OuterProducts:
        """(n, d) points in a space: `gradient` (d = 64), `logit` (d = classes), `last_layer`
        (d = 650 for ten classes, as factors), `feature` (d = 64) or `loss` (d = 1, each point's
        cross entropy).

        Raises ValueError for an unknown space.
        """
        if space not in EMBEDDINGS:
            raise ValueError(f"space must be one of {', '.join(EMBEDDINGS)}; got {space!r}")
        if space == "feature":
            return self.features
        if space == "loss":
            return F.cross_entropy(self.logits, self.labels, reduction="none")[:, None]
        if space == "gradient":
            return self.residual @ self.last
        if space == "last_layer":
            return OuterProducts(self.residual, self._inputs())
        return self.residual

    def mean_gradient(self, index: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """(classes, d + 1) float64 weighted mean of the last layer's gradients at some points.

        index: (k,) int64; weights: (k,).
        """
        share = weights.double() / weights.double().sum()
        return (self.residual[index].double() * share[:, None]).T @ self._inputs()[index].double()

    def _inputs(self) -> torch.Tensor:
        """(n, d + 1) inputs of the last layer, whose bias is the weight of a column of ones."""
        return torch.cat([self.features, torch.ones_like(self.features[:, :1])], 1)


@torch.inference_mode()
def forward(
    model: nn.Module, images: Images, labels: torch.Tensor, precision: str = "fp32"
) -> Pass:
    """A pass in eval mode, without augmentation; the model's mode is restored.

    model: a module with `features` and its last layer `fc`, see `resnet.ResNet`. labels: (n,)
    int64, the given ones. precision: of the features; logits and gradients are in fp32.
    """
    penultimate = features(model, images, precision)
    last = last_layer(model)
    return Pass(penultimate, last(penultimate), labels, last.weight.detach().clone())


@torch.no_grad()
def forward_as_released(
    model: nn.Module,
    images: Images,
    labels: torch.Tensor,
    precision: str,
    *,
    batch: int,
    seed: int,
    epoch: int,
) -> Pass:
    """A pass as the released code of CRUST makes it.

    The model is in train mode, so that batch norm uses the statistics of each batch and moves its
    running ones; the images are augmented; the gradients are those of the batch's *mean* loss. The
    images go through in their order, `batch` at a time; their crops are drawn from (seed, epoch).

    labels: (n,) int64, the given ones. precision: of the features.
    Source: `estimate_grads` of robust_cifar_train.py, published with Mirzasoleiman, Cao, Leskovec
    2020.
    """
    device = labels.device
    crops = augment.draw_crops(seed, epoch, len(images), purpose="augment estimate").to(device)
    run = feature_function(model)

    # train mode moves batch norm's running statistics, and they stay moved, as in that code
    training = model.training
    parts = []
    model.train()
    try:
        for index in torch.arange(len(images), device=device).split(batch):
            with autocast(device, precision):
                parts.append(run(images.augmented(index, crops)).float())
    finally:
        model.train(training)

    # the mean over a batch divides the gradient of each of its points
    scale = torch.cat([part.new_full((len(part),), 1 / len(part)) for part in parts])
    penultimate = torch.cat(parts)
    last = last_layer(model)
    return Pass(penultimate, last(penultimate), labels, last.weight.detach().clone(), scale)


def points(
    model: nn.Module, images: Images, labels: torch.Tensor, space: str, precision: str = "fp32"
) -> torch.Tensor | OuterProducts:
    """(n, d) points of `forward` in one space, see `Pass.points`."""
    return forward(model, images, labels, precision).points(space)
