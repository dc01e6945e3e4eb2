"""One epoch of optimisation steps over a given order of points, wherever the model lives."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from robustfl.study.run_spec import RunSpec
from robustfl.training.data import Data
from robustfl.training.epoch_plan import Plan
from robustfl.training.inference import autocast
from robustfl.training.optim import make_optimizer
from robustfl.training.steps.forgetting_events import Forgetting


def compiled(model: nn.Module) -> nn.Module:
    """The model under torch.compile, for batches of one size.

    Raises ValueError where torch's path has a space: torch's own call of the compiler breaks there.
    """
    if " " in torch.__path__[0]:
        raise ValueError(
            f"compiled must be false where torch's path has a space; got {torch.__path__[0]}"
        )
    return cast(nn.Module, torch.compile(model, dynamic=False))


class EagerSteps:
    """Plain PyTorch steps, on any device: the reference for every faster way.

    track: count forgetting events while training.
    """

    setup = 0  # images passed through the network before the first epoch

    def __init__(self, model: nn.Module, data: Data, spec: RunSpec, track: bool = False) -> None:
        self.model = model
        self.data = data
        self.spec = spec
        self.fast = compiled(model) if spec.torch_compile else model  # for batches of full size
        self.optimizer = make_optimizer(model, spec)
        n = len(data.given_labels)
        self.forgetting = Forgetting(n, data.given_labels.device) if track else None

    def run_epoch(self, plan: Plan) -> torch.Tensor:
        """Train in batches, the last and smaller one too. A batch's loss is the mean of each
        point's loss times its weight.

        Returns (3,) float64 on the device, sums over the epoch: weighted loss, hits on the given
        labels, hits on the true labels.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = plan.lr
        self.model.train()

        totals = torch.zeros(3, dtype=torch.float64, device=plan.order.device)
        for start in range(0, len(plan.order), self.spec.batch_size):
            totals += self._batch(plan, slice(start, start + self.spec.batch_size))
        return totals

    def cost(self, points: int) -> tuple[int, int]:
        """Images that an epoch over so many points passes forward and backward."""
        return points, points

    def close(self) -> None:
        """Release what only steps need; the steps must not run afterwards."""

    def state_dict(self) -> dict:
        """What a checkpoint holds beside the model."""
        tracked = vars(self.forgetting) if self.forgetting else None
        return {"optimizer": self.optimizer.state_dict(), "forgetting": tracked}

    def load_state_dict(self, state: dict) -> None:
        """Go on from `state_dict`'s answer, which may come from another device."""
        # whether a step can be captured depends on this device, not on the checkpoint's
        groups = self.optimizer.param_groups
        capturable = [group.get("capturable") for group in groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, value in zip(self.optimizer.param_groups, capturable):
            if value is not None:
                group["capturable"] = value

        if self.forgetting:
            for name, tensor in vars(self.forgetting).items():
                tensor.copy_(state["forgetting"][name])

    def _batch(self, plan: Plan, at: slice | torch.Tensor) -> torch.Tensor:
        """One step on the plan's positions `at`; its part of the epoch's totals."""
        index = plan.order[at]
        given = self.data.given_labels[index]
        logits = self._logits(self._images(plan, at, index))
        losses = F.cross_entropy(logits, given, reduction="none") * self._weights(plan, at)  # (b,)
        self._descend(losses.mean())
        return self._tally(index, given, logits.detach(), losses.detach())

    def _weights(self, plan: Plan, at: slice | torch.Tensor) -> torch.Tensor:
        """(b,) weights of a batch, of mean 1 over the epoch or over the batch, as the spec says."""
        weights = plan.weights[at]
        return weights / weights.mean() if self.spec.normalise == "batch" else weights

    def _descend(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def _images(self, plan: Plan, at: slice | torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """(b, C, H, W) augmented images, mixed with their partners' where the plan has partners."""
        images = self.data.images.augmented(index, plan.crops)
        if plan.partners is None or plan.mixup_lambda is None:
            return images
        partners = self.data.images.augmented(plan.partners[at], plan.crops)
        share = plan.mixup_lambda[at][:, None, None, None]  # (b, 1, 1, 1) of the image itself
        return torch.lerp(partners, images, share)

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        """(b, classes) float32."""
        # a compiled model is compiled for the full batch; the smaller last one runs as it is
        model = self.fast if len(images) == self.spec.batch_size else self.model
        with autocast(images.device, self.spec.precision):
            logits = model(images)
        return logits.float()

    def _tally(
        self, index: torch.Tensor, given: torch.Tensor, logits: torch.Tensor, losses: torch.Tensor
    ) -> torch.Tensor:
        """(3,) the batch's part of the epoch's totals; counts forgetting events where tracked."""
        predicted = logits.argmax(1)
        hits = predicted == given
        if self.forgetting:
            self.forgetting.see(index, hits)
        hits_true = predicted == self.data.true_labels[index]
        return torch.stack([losses.sum(), hits.sum(), hits_true.sum()])
