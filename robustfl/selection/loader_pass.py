"""One pass of a model through a data set: the points to select by, in the data set's own order.

A subset names positions, so the pass must know which sample each row belongs to. A loader whose
order is not known beforehand is refused, and what it gives is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from robustfl.selection import validation
from robustfl.selection.arrays import to_numpy

SHORTEST = 1e-30  # length that a gradient keeps where float32 would round it to zero


class Indexed(Dataset):
    """A dataset that also tells the position: (input, label) becomes (input, label, index).

    A sample that is a dict gets the key "index".
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        # torch declares no length for datasets, as some have none; the ones here do
        return len(cast(Sized, self.dataset))

    def __getitem__(self, index: int) -> tuple | dict:
        sample = self.dataset[index]
        return {**sample, "index": index} if isinstance(sample, dict) else (*sample, index)


def logit_gradients(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(b, c) gradient of each sample's own cross-entropy with respect to its logits z.

    It is softmax(z) - onehot(y), computed so that it keeps its direction where the model is sure of
    the label: it is never shorter than SHORTEST. inputs: (b, ...) as the model takes them; labels:
    (b,) integers. Raises ValueError for a model without (b, c) logits, and labels beyond them.
    """
    logits = model(inputs)
    if not torch.is_tensor(logits) or logits.ndim != 2 or logits.shape[1] < 2:
        found = tuple(logits.shape) if torch.is_tensor(logits) else type(logits).__name__
        raise ValueError(
            f"model must return (b, c) logits with c >= 2, or `points` be given; got {found}"
        )
    classes = logits.shape[1]
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f"labels must lie in [0, {classes}), the outputs of the model; "
            f"got {int(labels.min())} to {int(labels.max())}"
        )

    # 1 - p_y as a share of its own, since the difference would be 0 where p_y rounds to 1
    row = torch.arange(len(labels), device=labels.device)
    others = logits.float().clone()
    own = others[row, labels]
    others[row, labels] = -torch.inf
    missing = torch.sigmoid(others.logsumexp(1) - own).clamp(min=SHORTEST)

    gradient = others.softmax(1) * missing[:, None]
    gradient[row, labels] = -missing
    return gradient


def check_loader(loader: Any) -> int:
    """The number of samples of a loader that goes through its data set in order, from 0 to the end.

    Raises ValueError for any other loader.
    """
    if not isinstance(loader, DataLoader):
        raise ValueError(f"loader must be a DataLoader; got {validation.shown(loader)}")
    batches = loader.batch_sampler
    if batches is None:
        raise ValueError("loader must make batches; got batch_size=None")

    # own classes may leave out and reorder; torch's own two, over this very data set, do not
    sampler = getattr(batches, "sampler", None)
    drops = getattr(batches, "drop_last", True)
    if (
        type(batches) is not BatchSampler
        or type(sampler) is not SequentialSampler
        or sampler.data_source is not loader.dataset
        or drops
    ):
        raise ValueError(
            "loader must go through the whole dataset in order (shuffle=False, drop_last=False, "
            "no sampler of its own); "
            f"got {type(batches).__name__} over {type(sampler).__name__}, drop_last={drops}"
        )
    try:
        size = len(cast(Sized, loader.dataset))
    except (TypeError, NotImplementedError):
        raise ValueError("loader must have a dataset with a length; got one without") from None
    if not size:
        raise ValueError("loader must have a dataset of at least one sample; got 0")
    return size


@torch.no_grad()
def embed(
    loader: DataLoader, model: nn.Module, points: Callable[..., Any], size: int
) -> tuple[torch.Tensor, np.ndarray]:
    """((n, d) points, (n,) int64 labels) of the whole data set, from the model as it is.

    points: (model, inputs, labels) of a batch -> (b, d) values. The model is evaluated without
    gradients on the device of its parameters; afterwards each module is in its own mode again.
    size: n, as `check_loader` returns it. Raises ValueError for batches that are no (inputs,
    labels, ...), for a number of samples other than n, and for points that are not one row each.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    rows: list[torch.Tensor] = []
    labels = []
    with evaluating(model):
        for inputs, targets in batches(loader, size):
            given = torch.from_numpy(targets).to(device)
            found = validation.numeric(points(model, inputs.to(device), given), "points")
            # a row for each sample, as wide as those of the first batch
            width = rows[0].shape[1] if rows else "d"
            if found.ndim != 2 or len(found) != len(targets) or rows and found.shape[1] != width:
                raise ValueError(
                    f"points must return ({len(targets)}, {width}) values for a batch of "
                    f"{len(targets)}; got shape {tuple(found.shape)}"
                )
            rows.append(torch.as_tensor(found))
            labels.append(targets)
    return torch.cat(rows), np.concatenate(labels)


def all_labels(loader: DataLoader, size: int) -> np.ndarray:
    """(n,) int64 labels of the data set, from a pass without a model; ValueError as in `embed`."""
    return np.concatenate([targets for _, targets in batches(loader, size)])


def batches(loader: DataLoader, size: int) -> Iterator[tuple[Any, np.ndarray]]:
    """(inputs, (b,) int64 labels) of each batch; `size` samples in all, or a ValueError."""
    seen = 0
    for batch in loader:
        inputs, labels = _pair(batch)
        expected = np.arange(seen, seen + len(labels))
        seen += len(labels)
        # a data set that tells positions shows what a collate function reorders
        if isinstance(loader.dataset, Indexed) and not np.array_equal(batch[-1], expected):
            raise ValueError("loader must keep the order of the dataset; got another in a batch")
        if seen > size:
            break
        yield inputs, labels
    if seen != size:
        more = " or more" if seen > size else ""
        raise ValueError(
            f"loader must give each of the {size} samples once; got {seen}{more} in a pass"
        )


def _pair(batch: Any) -> tuple[Any, np.ndarray]:
    """(inputs, (b,) int64 labels) of a batch. ValueError for what is no such batch."""
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        found = type(batch).__name__
        if isinstance(batch, dict):
            found += f" with the keys {', '.join(map(str, batch))}"
        elif isinstance(batch, (tuple, list)):
            found += f" of {len(batch)}"
        raise ValueError(f"loader must give batches that start with (inputs, labels); got {found}")

    inputs, given = batch[:2]
    if not hasattr(inputs, "to"):
        raise ValueError(
            "loader must give inputs as tensors, or with a method `to`; "
            f"got {type(inputs).__name__}"
        )
    labels = to_numpy(validation.numeric(given, "labels", "be integers"))
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            "labels must be (b,) integers in each batch; "
            f"got shape {labels.shape}, dtype {labels.dtype}"
        )
    return inputs, labels.astype(np.int64)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode; afterwards each module is in the mode it was in, frozen ones too."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
