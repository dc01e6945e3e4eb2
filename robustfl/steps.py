"""One epoch of optimisation steps over a given order of points, wherever the model lives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from robustfl.augment import Images
from robustfl.gradients import autocast
from robustfl.spec import RunSpec


@dataclass(frozen=True)
class Data:
    """A run's data on its device. given: (n,) labels as trained on, true: (n,) labels before noise, int64."""

    images: Images
    given: torch.Tensor
    true: torch.Tensor
    test: Images
    test_labels: torch.Tensor
    heldout: Images | None = None
    heldout_labels: torch.Tensor | None = None  # given labels, noise included


def make_optimizer(model: nn.Module, spec: RunSpec) -> torch.optim.Optimizer:
    """SGD with momentum, or Adam (Kingma and Ba 2015, torch's betas); both with L2 weight decay."""
    if spec.optimizer == "adam":
        graph = next(model.parameters()).is_cuda  # a CUDA graph can hold the step only when its counter is on the device
        return torch.optim.Adam(model.parameters(), spec.lr, weight_decay=spec.weight_decay, fused=True, capturable=graph)
    return torch.optim.SGD(
        model.parameters(), spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay, fused=True
    )


def learning_rate(spec: RunSpec, epoch: int) -> float:
    """Multistep schedule: lr * gamma ** (milestones passed); epoch counts from 1, a milestone m ends with epoch m."""
    return spec.lr * spec.gamma ** sum(epoch > m for m in spec.milestones)


class EagerSteps:
    """Plain PyTorch steps, on any device: the reference for every faster way."""

    def __init__(self, model: nn.Module, data: Data, spec: RunSpec) -> None:
        self.model, self.data, self.spec = model, data, spec
        self.optimizer = make_optimizer(model, spec)

    def epoch(self, order: torch.Tensor, weights: torch.Tensor, crops: torch.Tensor, lr: float) -> torch.Tensor:
        """Train on the points `order` (k,) in batches, each point's loss times its weight (k,), mean over the batch.

        crops: (n, 3), see augment.draw_crops. Returns (3,) float64 on the device, sums over the epoch: weighted loss,
        hits on the given labels, hits on the true labels. The tail batch is trained on too.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.model.train()
        totals = torch.zeros(3, dtype=torch.float64, device=order.device)
        for index, weight in zip(order.split(self.spec.batch_size), weights.split(self.spec.batch_size)):
            totals += self._step(index, weight, crops)
        return totals

    def _step(self, index: torch.Tensor, weight: torch.Tensor, crops: torch.Tensor) -> torch.Tensor:
        given = self.data.given[index]
        with autocast(index.device, self.spec.precision):
            logits = self.model(self.data.images.augmented(index, crops))
        logits = logits.float()
        losses = F.cross_entropy(logits, given, reduction="none") * weight  # (b,)
        self.optimizer.zero_grad(set_to_none=True)
        losses.mean().backward()
        self.optimizer.step()
        guess = logits.detach().argmax(1)
        return torch.stack([losses.detach().sum(), (guess == given).sum(), (guess == self.data.true[index]).sum()])
