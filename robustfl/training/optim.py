"""The optimizer and the learning rate of a run."""

from __future__ import annotations

import torch
from torch import nn

from robustfl.study.run_spec import RunSpec


def make_optimizer(model: nn.Module, spec: RunSpec) -> torch.optim.Optimizer:
    """SGD with momentum, or Adam (Kingma and Ba 2015, torch's betas); both with L2 weight decay."""
    if spec.optimizer == "adam":
        # a CUDA graph can hold Adam's step only when the step counter is on the device
        on_gpu = next(model.parameters()).is_cuda
        return torch.optim.Adam(
            model.parameters(),
            spec.lr,
            weight_decay=spec.weight_decay,
            fused=True,
            capturable=on_gpu,
        )
    return torch.optim.SGD(
        model.parameters(),
        spec.lr,
        momentum=spec.momentum,
        weight_decay=spec.weight_decay,
        fused=True,
    )


def learning_rate(spec: RunSpec, epoch: int) -> float:
    """The multistep schedule: lr * gamma ** (milestones passed).

    Epochs count from 1, and a milestone m is passed when epoch m has ended.

    >>> spec = RunSpec(lr=0.5, gamma=0.5, milestones=(2,))
    >>> [learning_rate(spec, epoch) for epoch in (1, 2, 3)]
    [0.5, 0.5, 0.25]
    """
    return spec.lr * spec.gamma ** sum(epoch > m for m in spec.milestones)
