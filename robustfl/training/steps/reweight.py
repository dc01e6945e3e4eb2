"""Learning to reweight: each batch's weights come from a meta-gradient on a small set with clean labels.

Source: Ren, Zeng, Yang, Urtasun, "Learning to Reweight Examples for Robust Deep Learning", ICML 2018, algorithm 1.
It sees the true labels of `clean_set` training images, which no other method of the suite does.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from robustfl import rng
from robustfl.study.run_spec import RunSpec
from robustfl.training.data import Data
from robustfl.training.epoch_plan import Plan
from robustfl.training.inference import autocast
from robustfl.training.steps.eager import EagerSteps


class ReweightSteps(EagerSteps):
    """A step: theta' = theta - lr grad sum_i eps_i l_i(theta) at eps = 0; w_i = max(0, -d/d eps_i of the clean loss at
    theta'), normalised to sum 1 (all 0 stays 0); then an SGD step on sum_i w_i l_i. The plan's weights are not used."""

    def __init__(self, model: nn.Module, data: Data, spec: RunSpec, track: bool = False) -> None:
        super().__init__(model, data, spec, track)
        order = rng.stream(spec.seed, "clean_set").permutation(len(data.given_labels))[
            : spec.clean_set
        ]
        self.clean = torch.from_numpy(order).to(
            data.given_labels.device
        )  # (clean_set,) indices whose true labels are used

    def cost(self, points: int) -> tuple[int, int]:
        """Virtual and real forward of the batch, forward of the clean set; backward of each, and the double backward."""
        clean = math.ceil(points / self.spec.batch_size) * len(self.clean)
        return 2 * points + clean, 3 * points + clean

    def _batch(self, plan: Plan, at: slice | torch.Tensor) -> torch.Tensor:
        index = plan.order[at]
        given = self.data.given_labels[index]
        images = self._images(plan, at, index)
        weights = self.weigh(
            images, given, self.data.images.augmented(self.clean, plan.crops), plan.lr
        )
        logits = self._logits(images)
        losses = F.cross_entropy(logits, given, reduction="none") * weights
        self._descend(losses.sum())
        return self._tally(index, given, logits.detach(), losses.detach() * len(index))

    def weigh(
        self, images: torch.Tensor, given: torch.Tensor, clean: torch.Tensor, lr: float
    ) -> torch.Tensor:
        """(b,) weights of sum 1 (or all 0). images: (b, C, H, W); given: (b,); clean: (clean_set, C, H, W)."""
        parameters = dict(self.model.named_parameters())
        eps = torch.zeros(len(images), device=images.device, requires_grad=True)
        loss = (
            eps * F.cross_entropy(self._virtual(parameters, images), given, reduction="none")
        ).sum()
        gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
        moved = {name: p - lr * g for (name, p), g in zip(parameters.items(), gradients)}
        clean_loss = F.cross_entropy(self._virtual(moved, clean), self.data.true_labels[self.clean])
        weights = (-torch.autograd.grad(clean_loss, eps)[0]).clamp(min=0)
        return weights / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)

    def _virtual(self, parameters: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        """Logits under other parameters; the model's batch statistics stay as they are."""
        buffers = {name: b.clone() for name, b in self.model.named_buffers()}
        with autocast(images.device, self.spec.precision):
            logits = functional_call(self.model, parameters | buffers, (images,))
        return logits.float()
