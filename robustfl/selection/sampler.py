"""A sampler for anybody's training loop: every m epochs the current model selects its points."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.utils.data import DataLoader, DistributedSampler, Sampler

from robustfl import rng
from robustfl.selection import Selection, loader_pass, select, validation
from robustfl.selection.api import check_settings, planned_size
from robustfl.selection.loader_pass import Indexed, logit_gradients

__all__ = ["CoresetSampler", "Indexed", "logit_gradients"]


class CoresetSampler(Sampler[int]):
    """Yields the positions of a selected subset; give it to the training DataLoader as `sampler`.

    loader: a DataLoader over the same dataset in its own order (no shuffling, no sampler of its
      own, no augmentation, nothing dropped), whose batches start with (inputs, labels). Over
      `Indexed(dataset)`, the order inside its batches is checked too.
    model: the classifier in training; it is evaluated in eval mode, without gradients, on the
      device of its parameters, and each of its modules is left in the mode it was in.
    ratio, method, radius, seed, options: as for `robustfl.select`.
    every: epochs from one selection to the next. warmup: epochs on everything before the first.
    shuffle: a new order each epoch; False: greedy order.
    points: (model, inputs, labels) -> (b, d) points to select by; None: the logit gradients.
    rank, num_replicas: which share of the positions this process gets; None: those of
      torch.distributed where it is initialised, else all. The shares of an epoch do not overlap and
      are equally long: the last (number of positions) mod num_replicas positions of its order are
      left out. Under torch.distributed all processes select together, by what rank 0 sees. Whatever
      shards by itself (Lightning, accelerate) needs rank=0, num_replicas=1.

    `selection` is the latest Selection, None before the first. `indices` are the positions of the
    latest epoch, of all ranks. `weights` is an (n,) float32 tensor for the loss, indexed by
    position: mean 1 over the selected, 0 elsewhere.

    Each start of an iteration is an epoch, counted in `epoch`; `set_epoch` says which one comes.
    `len` is that of the coming epoch. Where it must be known before the first selection, the loader
    is gone through once for the labels. With method="set_cover" it is the number that the next
    selection aims at, or the latest one's.
    Raises ValueError for a setting that `robustfl.select` would refuse, for every < 1 or
    warmup < 0, and for a loader whose order is not known; at a selection, what `robustfl.select`
    raises, and for a loader that does not give every sample once.

    >>> import torch
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> inputs = torch.tensor([[0.0], [1.0], [5.0], [6.0]])
    >>> data = TensorDataset(inputs, torch.tensor([0, 0, 1, 1]))
    >>> model = torch.nn.Linear(1, 2)
    >>> sampler = CoresetSampler(DataLoader(data), model, ratio=0.5, warmup=1, shuffle=False)
    >>> list(sampler)  # the warm-up
    [0, 1, 2, 3]
    >>> len(sampler), len(list(sampler)), len(sampler.selection)
    (2, 2, 2)
    >>> batches = DataLoader(Indexed(data), batch_size=2, sampler=sampler)
    >>> [sampler.weights[index].tolist() for _, _, index in batches]
    [[1.0, 1.0]]
    """

    def __init__(
        self,
        loader: DataLoader,
        model: nn.Module,
        *,
        ratio: float,
        every: int = 1,
        warmup: int = 0,
        method: str = "facility_location",
        radius: float | None = None,
        seed: int = 0,
        shuffle: bool = True,
        points: Callable[..., Any] | None = None,
        rank: int | None = None,
        num_replicas: int | None = None,
        **options: Any,
    ) -> None:
        # a mistake is told now, not at the first selection, which may be hours away
        check_settings(method=method, ratio=ratio, radius=radius, seed=seed, **options)
        _check_points(points, options.get("metric"))
        if not isinstance(model, nn.Module):
            raise ValueError(f"model must be a torch.nn.Module; got {validation.shown(model)}")
        self.size = loader_pass.check_loader(loader)  # samples in the data set
        self.every = validation.whole(every, "every", 1)
        self.warmup = validation.whole(warmup, "warmup", 0)
        self.shuffle = validation.flag(shuffle, "shuffle")
        self.share = _check_share(rank, num_replicas)  # None: as torch.distributed says

        self.loader = loader
        self.model = model
        self.points = logit_gradients if points is None else points
        self.seed = validation.seed(seed)
        self.options: dict[str, Any] = {
            "ratio": ratio,
            "method": method,
            "radius": radius,
            **options,
        }
        self.epoch = 0  # the epoch that the next iteration is
        self.labels: np.ndarray | None = None  # (n,) of the data set, once they are known
        self._use(None)

    def __len__(self) -> int:
        """Positions that the coming epoch gives to this process."""
        self._refuse_sharding_above()
        return self._coming() // self._place()[1]

    def __iter__(self) -> Iterator[int]:
        self._refuse_sharding_above()
        if self.epoch < self.warmup:
            self._use(None)
        elif self._selects():
            self._use(self._select())

        # every process has the same order, and takes its own places of it
        order = self.indices
        if self.shuffle:
            order = rng.stream(self.seed, "sampler order", self.epoch).permutation(order)
        rank, replicas = self._place()
        if len(order) < replicas:
            raise ValueError(
                f"num_replicas must be at most the {len(order)} positions of an epoch; "
                f"got {validation.shown(replicas)}"
            )
        mine = order[: len(order) // replicas * replicas][rank::replicas]
        self.epoch += 1
        return iter(mine.tolist())

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is this epoch, counted from 0."""
        self.epoch = validation.whole(epoch, "epoch", 0)

    def state_dict(self) -> dict[str, Any]:
        """Numbers and tensors with which another sampler goes on to the bit, see `load_state_dict`.

        The model is no part of it, and neither are the settings.
        """
        chosen = self.selection
        if chosen is None:
            return {"epoch": self.epoch, "size": self.size, "selection": None}
        arrays = {"indices": chosen.indices, "weights": chosen.weights, "gains": chosen.gains}
        state: dict[str, Any] = {name: torch.from_numpy(a.copy()) for name, a in arrays.items()}
        return {
            "epoch": self.epoch,
            "size": self.size,
            "selection": state | {"radius": chosen.radius},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the answer of `state_dict`, of a sampler of the same settings.

        Raises ValueError for what is no such answer, or that of a data set of another size.
        """
        if not isinstance(state, dict) or not {"epoch", "size", "selection"} <= set(state):
            raise ValueError(
                f"state must be what state_dict returned; got {validation.shown(state)}"
            )
        if state["size"] != self.size:
            raise ValueError(
                f"state must be of a dataset of {self.size} samples; "
                f"got {validation.shown(state['size'])}"
            )
        saved = state["selection"]
        if saved is not None:
            names = ("indices", "weights", "gains")
            indices, weights, gains = (saved[name].numpy().copy() for name in names)
            saved = Selection(indices, weights, gains, saved["radius"])
        self.set_epoch(state["epoch"])
        self._use(saved)

    def _selects(self) -> bool:
        """Does the coming epoch, which is after the warm-up, begin with a selection?"""
        return self.selection is None or (self.epoch - self.warmup) % self.every == 0

    def _coming(self) -> int:
        """Positions of the coming epoch, of all ranks."""
        if self.epoch < self.warmup:
            return self.size
        method = self.options["method"]
        if self.selection is not None and (method == "set_cover" or not self._selects()):
            return len(self.selection)
        if self.labels is None:
            self.labels = loader_pass.all_labels(self.loader, self.size)
        return planned_size(method, self.options["ratio"], self.labels)

    def _use(self, selection: Selection | None) -> None:
        """Set what an epoch trains on: a selection, or everything where it is None."""
        if selection is None:
            self.selection: Selection | None = None
            self.indices = np.arange(self.size)
            self.weights = torch.ones(self.size)
            return

        # weights of mean 1 over the selected, so that the learning rate keeps its meaning
        self.selection = selection
        self.indices = selection.indices
        share = torch.from_numpy(selection.weights).float()
        self.weights = torch.zeros(self.size)
        self.weights[torch.from_numpy(self.indices)] = share * (len(share) / share.sum())

    def _select(self) -> Selection:
        """The current model's selection; of all processes that of rank 0."""
        points, self.labels = loader_pass.embed(self.loader, self.model, self.points, self.size)
        seed = rng.key(self.seed, "sampler", self.epoch) % 2**63
        if _world()[1] == 1:
            return select(points, self.labels, seed=seed, **self.options)

        # the others' models may differ in what is not trained, such as a BatchNorm's statistics
        answer: list[Any] = [None]
        if _world()[0] == 0:
            try:
                answer = [select(points, self.labels, seed=seed, **self.options)]
            except Exception as error:  # raised by every process, so that none waits for ever
                answer = [error]
        distributed.broadcast_object_list(answer, src=0)
        if isinstance(answer[0], Exception):
            raise answer[0]
        return answer[0]

    def _place(self) -> tuple[int, int]:
        """(rank, num_replicas) of this process's share."""
        return _world() if self.share is None else self.share

    def _refuse_sharding_above(self) -> None:
        """ValueError where what asks for positions would take a share of this process's share."""
        frame = sys._getframe(2)
        for _ in range(8):
            caller = frame.f_locals.get("self")
            shards = isinstance(caller, DistributedSampler)
            # torch's own takes positions in the sampler for positions in the data
            misread = shards and getattr(caller, "dataset", None) is self
            if misread or (shards or type(caller).__name__ in SHARDING) and self._place()[1] > 1:
                raise ValueError(
                    f"sampler must not be given to what shards it again; got "
                    f"{type(caller).__name__}: leave it out, or give num_replicas=1 and rank=0"
                )
            if frame.f_back is None:
                return
            frame = frame.f_back


# Classes of accelerate that give each process a share of what a sampler yields.
SHARDING = ("BatchSamplerShard",)


def _world() -> tuple[int, int]:
    """(rank, number of processes) of torch.distributed; (0, 1) where it is not initialised."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def _check_share(rank: int | None, num_replicas: int | None) -> tuple[int, int] | None:
    """(rank, num_replicas) as given, None where neither is. ValueError names what is wrong."""
    if rank is None and num_replicas is None:
        return None
    if rank is None or num_replicas is None:
        raise ValueError(
            "rank and num_replicas must be given together; "
            f"got {validation.shown(rank)} and {validation.shown(num_replicas)}"
        )
    replicas = validation.whole(num_replicas, "num_replicas", 1)
    if validation.whole(rank, "rank", 0) >= replicas:
        raise ValueError(
            "rank must be below num_replicas; "
            f"got {validation.shown(rank)} of {validation.shown(replicas)}"
        )
    return int(rank), replicas


def _check_points(points: Any, metric: Any) -> None:
    if points is not None and not callable(points):
        raise ValueError(f"points must be a function or None; got {validation.shown(points)}")
    if points is None and metric == "precomputed":
        raise ValueError(
            "points must be given for metric='precomputed', which gradients are not; got None"
        )
