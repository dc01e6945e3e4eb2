"""Learning to reweight: a batch's weights come from a meta-gradient on a small clean set.

Source: Ren, Zeng, Yang, Urtasun, "Learning to Reweight Examples for Robust Deep Learning", ICML
2018, algorithm 1.

The method sees the true labels of `clean_set` training images, which no other method of the suite
does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

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
    """Steps whose weights w are learned anew for each batch; the plan's weights are not used.

    1. A virtual step: theta' = theta - lr grad sum_i eps_i l_i(theta), at eps = 0.
    2. w_i = max(0, -d/d eps_i of the clean loss at theta'), normalised to sum 1; all 0 stays 0.
    3. The real step of the optimizer, on sum_i w_i l_i.
    """

    def __init__(self, model: nn.Module, data: Data, spec: RunSpec, track: bool = False) -> None:
        super().__init__(model, data, spec, track)
        order = rng.stream(spec.seed, "clean_set").permutation(len(data.given_labels))
        chosen = torch.from_numpy(order[: spec.num_clean])
        # (clean_set,) indices of the images whose true labels are used
        self.clean = chosen.to(data.given_labels.device)

    def cost(self, points: int) -> tuple[int, int]:
        """Forward: the batch in the virtual and the real step, and the clean set. Backward: each of
        these, and the virtual step once more, for the gradient of its gradient."""
        clean = math.ceil(points / self.spec.batch_size) * len(self.clean)
        return 2 * points + clean, 3 * points + clean

    def _batch(self, plan: Plan, at: slice | torch.Tensor) -> torch.Tensor:
        index = plan.order[at]
        given = self.data.given_labels[index]
        images = self._images(plan, at, index)
        clean = self.data.images.augmented(self.clean, plan.crops)
        weights = self.weigh(images, given, clean, plan.lr)

        logits = self._logits(images)
        losses = F.cross_entropy(logits, given, reduction="none") * weights
        self._descend(losses.sum())
        # the epoch's totals are of weights of mean 1; these have sum 1
        return self._tally(index, given, logits.detach(), losses.detach() * len(index))

    def weigh(
        self, images: torch.Tensor, given: torch.Tensor, clean: torch.Tensor, lr: float
    ) -> torch.Tensor:
        """(b,) weights of sum 1, or all 0.

        images: (b, C, H, W); given: (b,) labels; clean: (clean_set, C, H, W).
        """
        # the virtual step, kept differentiable in eps
        parameters = dict(self.model.named_parameters())
        eps = torch.zeros(len(images), device=images.device, requires_grad=True)
        losses = F.cross_entropy(self._virtual(parameters, images), given, reduction="none")
        loss = (eps * losses).sum()
        gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
        moved = {name: p - lr * g for (name, p), g in zip(parameters.items(), gradients)}

        # how the clean loss after it depends on eps
        clean_loss = F.cross_entropy(self._virtual(moved, clean), self.data.true_labels[self.clean])
        weights = (-torch.autograd.grad(clean_loss, eps)[0]).clamp(min=0)
        return weights / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)

    def _virtual(
        self, parameters: Mapping[str, torch.Tensor], images: torch.Tensor
    ) -> torch.Tensor:
        """(b, classes) logits under other parameters; the model's running statistics stay."""
        buffers = {name: b.clone() for name, b in self.model.named_buffers()}
        with autocast(images.device, self.spec.precision):
            logits = functional_call(self.model, {**parameters, **buffers}, (images,))
        return logits.float()
