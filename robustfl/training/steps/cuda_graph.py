"""The steps of an epoch as replays of one CUDA graph.

At batch 32 a GPU waits for Python between eager steps. A graph holds gather, augmentation, forward,
backward and the fused optimizer step of one full batch. A step counter on the device says which
batch it is, so that a replay takes no argument. Order, weights, crops and learning rate are copied
into fixed buffers once per epoch; totals are summed on the device; the smaller last batch runs
eagerly.

Not yet run on a GPU: written against the rules of torch.cuda.CUDAGraph.
tests/training/test_cuda_graph.py (marked cuda) compares it with EagerSteps wherever there is a
device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import nn

from robustfl import cuda
from robustfl.study.run_spec import RunSpec
from robustfl.training.data import Data
from robustfl.training.epoch_plan import Plan
from robustfl.training.steps.eager import EagerSteps

WARM_UP = 3  # eager steps before a capture, on its stream, as torch's documentation asks


class GraphSteps(EagerSteps):
    """EagerSteps' interface on one CUDA device.

    Use it inside `cuda.exclusive_stream`, since the default stream cannot be captured. The graph is
    captured at the first epoch, after a checkpoint may have been loaded, because it holds the
    addresses of parameters and optimizer state.
    """

    def __init__(self, model: nn.Module, data: Data, spec: RunSpec, track: bool = False) -> None:
        super().__init__(model, data, spec, track)
        device = data.given_labels.device
        n = len(data.given_labels)
        self.buffers = Plan(
            torch.zeros(n, dtype=torch.int64, device=device),
            torch.zeros(n, device=device),
            torch.zeros(n, 3, dtype=torch.int64, device=device),
            spec.lr,
            torch.zeros(n, dtype=torch.int64, device=device) if spec.mixup else None,
            torch.zeros(n, device=device) if spec.mixup else None,
        )
        self.counter = torch.zeros((), dtype=torch.int64, device=device)  # full steps so far
        self.totals = torch.zeros(3, dtype=torch.float64, device=device)
        self.lr = torch.zeros((), device=device)
        self.within = torch.arange(spec.batch_size, device=device)  # positions in a batch
        self.step: Callable[[], None] | None = None  # a full step; None before the first one
        self.graph: torch.cuda.CUDAGraph | None = None

    def run_epoch(self, plan: Plan) -> torch.Tensor:
        """As EagerSteps.run_epoch."""
        size = self.spec.batch_size
        k = len(plan.order)
        self.model.train()
        self._copy_to_buffers(plan)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        if self.step is None and k >= size:
            with cuda.LOCK:
                self._warm_up()
                self.step = self._capture()

        # begin the epoch; the warm-up has used all three
        self.lr.fill_(plan.lr)
        self.counter.zero_()
        self.totals.zero_()

        if self.step is not None:
            for _ in range(k // size):
                self.step()
        if k % size:
            self.totals += self._batch(self.buffers, slice(k - k % size, k))
        return self.totals.clone()

    def _copy_to_buffers(self, plan: Plan) -> None:
        for name in ("order", "weights", "crops", "partners", "mixup_lambda"):
            values = getattr(plan, name)
            if values is not None:
                getattr(self.buffers, name)[: len(values)].copy_(values)

    def _full_step(self) -> None:
        """One step on the full batch that the counter says."""
        at = self.counter * self.spec.batch_size + self.within  # (batch,) positions in the order
        self.totals += self._batch(self.buffers, at)
        self.counter += 1

    def _warm_up(self) -> None:
        """Run eager steps that allocate what a capture must find, then restore model and optimizer.

        The graph keeps the addresses of their tensors, so that each is restored in place.
        """
        self.lr.zero_()
        before = {k: v.clone() for k, v in self.model.state_dict().items()}
        states_before = [
            {k: v.clone() for k, v in state.items() if torch.is_tensor(v)}
            for state in self.optimizer.state.values()
        ]

        for _ in range(WARM_UP):
            self.counter.zero_()
            self._full_step()

        for name, value in self.model.state_dict().items():
            value.copy_(before[name])
        # an optimizer without a step before has no state, and what was absent starts at zero
        states_before = states_before or [{}] * len(self.optimizer.state)
        for state, old in zip(self.optimizer.state.values(), states_before):
            for name, value in state.items():
                if torch.is_tensor(value):
                    value.copy_(old[name]) if name in old else value.zero_()
        self.optimizer.zero_grad(set_to_none=True)

    def _capture(self) -> Callable[[], None]:
        """What does a full step: the graph's replay, or the eager step where the device refuses a
        capture, with a warning."""
        torch.cuda.current_stream(self.totals.device).synchronize()
        try:
            self.graph = cuda.capture_graph(self._full_step)
        except RuntimeError as error:
            warnings.warn(
                f"steps run eagerly, since no CUDA graph could be recorded: {error}", stacklevel=2
            )
            self.optimizer.zero_grad(set_to_none=True)
            return self._full_step
        return self.graph.replay

    def close(self) -> None:
        """Drop the graph, on the stream that it ran on."""
        if self.graph is not None:
            torch.cuda.current_stream(self.totals.device).synchronize()
            with cuda.LOCK:
                self.step = None
                self.graph = None
