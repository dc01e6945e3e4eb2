"""One epoch of optimisation steps over a given order of points, wherever the model lives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from robustfl.study.run_spec import RunSpec
from robustfl.training.augment import Images
from robustfl.training.inference import autocast


@dataclass(frozen=True)
class Data:
    """A run's data on its device. given: (n,) labels as trained on, true: (n,) labels before noise, int64."""

    images: Images
    given_labels: torch.Tensor
    true_labels: torch.Tensor
    test: Images
    test_labels: torch.Tensor
    heldout: Images | None = None
    heldout_labels: torch.Tensor | None = None  # given labels, noise included


def make_optimizer(model: nn.Module, spec: RunSpec) -> torch.optim.Optimizer:
    """SGD with momentum, or Adam (Kingma and Ba 2015, torch's betas); both with L2 weight decay."""
    if spec.optimizer == "adam":
        graph = next(
            model.parameters()
        ).is_cuda  # a CUDA graph can hold the step only when its counter is on the device
        return torch.optim.Adam(
            model.parameters(),
            spec.lr,
            weight_decay=spec.weight_decay,
            fused=True,
            capturable=graph,
        )
    return torch.optim.SGD(
        model.parameters(),
        spec.lr,
        momentum=spec.momentum,
        weight_decay=spec.weight_decay,
        fused=True,
    )


def learning_rate(spec: RunSpec, epoch: int) -> float:
    """Multistep schedule: lr * gamma ** (milestones passed); epoch counts from 1, a milestone m ends with epoch m."""
    return spec.lr * spec.gamma ** sum(epoch > m for m in spec.milestones)


@dataclass(frozen=True)
class Plan:
    """What an epoch trains on, in order. All tensors are on the data's device."""

    order: torch.Tensor  # (k,) int64 indices of images
    weights: torch.Tensor  # (k,) float32 of mean 1
    crops: torch.Tensor  # (n, 3) int64, see augment.draw_crops
    lr: float
    partners: torch.Tensor | None = None  # (k,) int64 images to mix in, where the spec mixes
    mixup_lambda: torch.Tensor | None = (
        None  # (k,) float32 share of the point's own image in the mix
    )


def compiled(model: nn.Module) -> nn.Module:
    """torch.compile for one batch size. Raises ValueError where torch's own compiler call would break on its path."""
    if " " in torch.__path__[0]:
        raise ValueError(
            f"compiled must be false where torch's path has a space; got {torch.__path__[0]}"
        )
    return torch.compile(model, dynamic=False)


class Forgetting:
    """Forgetting events of each image (Toneva et al., ICLR 2019): its given label was guessed right when it was trained on
    last, and wrong the time after. An image that was never guessed right counts more than any number of events."""

    def __init__(self, n: int, device: torch.device) -> None:
        self.correct, self.learned = (
            torch.zeros(n, dtype=torch.bool, device=device) for _ in range(2)
        )
        self.events = torch.zeros(n, dtype=torch.int64, device=device)

    def see(self, index: torch.Tensor, hits: torch.Tensor) -> None:
        """index: (b,) images of a batch, each once; hits: (b,) bool.

        Written with scatters of a constant: deterministic writes by index read the index on the host, which a CUDA graph forbids.
        """
        n = len(self.correct)
        seen = torch.zeros_like(self.correct).scatter_(0, index, True)
        right = self.correct.new_zeros(n + 1).scatter_(0, torch.where(hits, index, n), True)[:n]
        self.events += self.correct & seen & ~right
        self.correct.copy_(torch.where(seen, right, self.correct))
        self.learned |= right

    def scores(self, most: int) -> torch.Tensor:
        """(n,) events, `most` for images never learned."""
        return torch.where(self.learned, self.events, most)


class EagerSteps:
    """Plain PyTorch steps, on any device: the reference for every faster way.

    track: count forgetting events while training.
    """

    setup = 0  # forward passes through the network before the first epoch, in images

    def __init__(self, model: nn.Module, data: Data, spec: RunSpec, track: bool = False) -> None:
        self.model, self.data, self.spec = model, data, spec
        self.fast = compiled(model) if spec.compiled else model  # for batches of full size
        self.optimizer = make_optimizer(model, spec)
        self.forgetting = (
            Forgetting(len(data.given_labels), data.given_labels.device) if track else None
        )

    def run_epoch(self, plan: Plan) -> torch.Tensor:
        """Train in batches, each point's loss times its weight, mean over the batch; the tail batch is trained on too.

        Returns (3,) float64 on the device, sums over the epoch: weighted loss, hits on the given labels, hits on the true.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = plan.lr
        self.model.train()
        totals = torch.zeros(3, dtype=torch.float64, device=plan.order.device)
        for start in range(0, len(plan.order), self.spec.batch_size):
            totals += self._batch(plan, slice(start, start + self.spec.batch_size))
        return totals

    def cost(self, points: int) -> tuple[int, int]:
        """Forward and backward passes through the network, in images, of an epoch over so many points."""
        return points, points

    def close(self) -> None:
        """Give back what only steps need; none is made afterwards."""

    def state_dict(self) -> dict:
        """What a checkpoint holds beside the model."""
        tracked = vars(self.forgetting) if self.forgetting else None
        return {"optimizer": self.optimizer.state_dict(), "forgetting": tracked}

    def load_state_dict(self, state: dict) -> None:
        held = [group.get("capturable") for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, capturable in zip(
            self.optimizer.param_groups, held
        ):  # of this device, not of the checkpoint's
            if capturable is not None:
                group["capturable"] = capturable
        if self.forgetting:
            for name, value in vars(self.forgetting).items():
                value.copy_(state["forgetting"][name])

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
        if plan.partners is not None:
            images = torch.lerp(
                self.data.images.augmented(plan.partners[at], plan.crops),
                images,
                plan.mixup_lambda[at][:, None, None, None],
            )
        return images

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        with autocast(images.device, self.spec.precision):
            logits = (self.fast if len(images) == self.spec.batch_size else self.model)(images)
        return logits.float()

    def _tally(
        self, index: torch.Tensor, given: torch.Tensor, logits: torch.Tensor, losses: torch.Tensor
    ) -> torch.Tensor:
        guess = logits.argmax(1)
        hits = guess == given
        if self.forgetting:
            self.forgetting.see(index, hits)
        return torch.stack(
            [losses.sum(), hits.sum(), (guess == self.data.true_labels[index]).sum()]
        )
