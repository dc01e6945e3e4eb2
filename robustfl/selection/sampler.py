"""A sampler for anybody's training loop: every m epochs the current model selects its points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from robustfl import rng
from robustfl.selection import Selection, select


def logit_gradients(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(b, c) gradient of each sample's own cross-entropy with respect to its logits z.

    It is softmax(z) - onehot(y). inputs: (b, ...) as the model takes them; labels: (b,) integers.
    """
    gradient = model(inputs).float().softmax(1)
    gradient[torch.arange(len(labels), device=labels.device), labels] -= 1
    return gradient


def _length(dataset: Dataset) -> int:
    # torch declares no length for datasets, as some have none; the ones here do
    return len(cast(Sized, dataset))


class Indexed(Dataset):
    """A dataset of (input, label) pairs that also tells the position: (input, label, index)."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return _length(self.dataset)

    def __getitem__(self, index: int) -> tuple:
        return *self.dataset[index], index


class CoresetSampler(Sampler[int]):
    """Yields the positions of a selected subset; give it to the training DataLoader as `sampler`.

    loader: a DataLoader over the same dataset in its own order (no shuffling, no augmentation,
      nothing dropped), whose batches start with (inputs, labels).
    model: the classifier in training; it is evaluated in eval mode, without gradients, on the
      device of its parameters, and left in the mode it was in.
    ratio, method, radius, seed, options: as for `robustfl.select`.
    every: epochs from one selection to the next. warmup: epochs on everything before the first.
    shuffle: a new order each epoch; False: greedy order.
    points: (model, inputs, labels) -> (b, d) points to select by; by default the logit gradients.

    `selection` is the latest Selection, None before the first. `weights` is an (n,) float32 tensor
    for the loss, indexed by position: mean 1 over the selected, 0 elsewhere. Each start of an
    iteration counts as an epoch.
    Raises ValueError for every < 1 or warmup < 0, and for a loader that shuffles or drops; at a
    selection, what `robustfl.select` raises.

    >>> import torch
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> inputs = torch.tensor([[0.0], [1.0], [5.0], [6.0]])
    >>> data = TensorDataset(inputs, torch.tensor([0, 0, 1, 1]))
    >>> model = torch.nn.Linear(1, 2)
    >>> sampler = CoresetSampler(DataLoader(data), model, ratio=0.5, warmup=1, shuffle=False)
    >>> list(sampler)  # the warm-up
    [0, 1, 2, 3]
    >>> len(list(sampler)), len(sampler.selection)
    (2, 2)
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
        points: Callable[..., torch.Tensor] = logit_gradients,
        **options: Any,
    ) -> None:
        if every < 1:
            raise ValueError(f"every must be >= 1; got {every}")
        if warmup < 0:
            raise ValueError(f"warmup must be >= 0; got {warmup}")
        if loader.drop_last or not isinstance(loader.sampler, torch.utils.data.SequentialSampler):
            raise ValueError(
                "loader must go through the whole dataset in order (shuffle=False, drop_last=False)"
            )
        self.loader = loader
        self.model = model
        self.points = points
        self.every = every
        self.warmup = warmup
        self.seed = seed
        self.shuffle = shuffle
        self.options: dict[str, Any] = {
            "ratio": ratio,
            "method": method,
            "radius": radius,
            **options,
        }
        self.epoch = 0  # the epoch that the next iteration is
        self.selection: Selection | None = None
        self.indices = np.arange(_length(loader.dataset))
        self.weights = torch.ones(_length(loader.dataset))

    def __len__(self) -> int:
        """Positions in the latest epoch: the next one differs only where the warm-up ends."""
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        # counted from the first epoch after the warm-up, which always selects
        since = self.epoch - self.warmup
        if since >= 0 and since % self.every == 0:
            self._select()
        order = self.indices
        if self.shuffle:
            order = rng.stream(self.seed, "sampler order", self.epoch).permutation(order)
        self.epoch += 1
        return iter(order.tolist())

    @torch.no_grad()
    def _select(self) -> None:
        # the points of the whole dataset, in its order, from the model as it is
        device = next(self.model.parameters()).device
        was_training = self.model.training
        self.model.eval()
        try:
            parts, labels = [], []
            for batch in self.loader:
                inputs, targets = batch[0].to(device), batch[1].to(device)
                parts.append(self.points(self.model, inputs, targets))
                labels.append(targets.cpu())
        finally:
            self.model.train(was_training)

        seed = rng.key(self.seed, "sampler", self.epoch) % 2**63
        self.selection = select(torch.cat(parts), torch.cat(labels), seed=seed, **self.options)
        self.indices = self.selection.indices

        # weights of mean 1 over the selected, so that the learning rate keeps its meaning
        share = torch.from_numpy(self.selection.weights).float()
        self.weights = torch.zeros(_length(self.loader.dataset))
        self.weights[torch.from_numpy(self.indices)] = share * (len(share) / share.sum())
