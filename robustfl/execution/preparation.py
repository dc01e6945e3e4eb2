"""What a run needs before it trains: its device, data with label noise, precision and model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from robustfl import data, rng
from robustfl.data import Arrays, Dataset, label_noise, splits
from robustfl.execution import precision
from robustfl.study.run_spec import RunSpec
from robustfl.training import resnet
from robustfl.training.augment import Images
from robustfl.training.data import Data


@dataclass(frozen=True)
class Options:
    """How and where to run: nothing here may change a number."""

    device: str = "auto"  # auto | cpu | cuda
    cache: str = "cache"
    source: str = "auto"  # of data sets, see robustfl.data.load
    folder: str | None = None
    checkpoint_every: int = 10  # epochs, at most ...
    # ... and after the epoch in which so many seconds have passed since the last one
    checkpoint_seconds: float = 60.0
    graphs: bool = True  # CUDA graphs on a GPU; False = eager steps, the reference
    log: Callable[[str], None] = print


def pick_device(name: str) -> torch.device:
    """auto -> cuda where there is one. Raises ValueError when cuda is asked for and absent."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be one of auto, cpu, cuda; got {name!r}")
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise ValueError("device must be present; got cuda, and torch sees no CUDA device")
    return torch.device("cuda" if name != "cpu" and present else "cpu")


def prepare(spec: RunSpec, options: Options, device: torch.device) -> tuple[Data, dict]:
    """The run's data on its device, and what its provenance stores of it.

    Provenance has the source and hashes of the data set, the hash of the noisy labels (int64) that
    are trained on, what share of labels the noise moved, and the numbers of points. Raises
    data.DataError, and ValueError where holdout or clean_set leave nothing to train on.
    """
    kind = data.DATASETS[spec.dataset]
    source = "sample" if spec.use_sample else options.source
    arrays = data.load(
        spec.dataset, source=source, folder=options.folder, cache=options.cache, log=options.log
    )

    # the noise is drawn for the whole set, so that a subset has the labels of the whole
    true = arrays.train_labels.astype(np.int64)
    noisy, measured = label_noise.apply(
        true, len(kind.classes), spec.noise, spec.noise_rate, spec.seed, spec.noise_map
    )

    # every seed tests on the same images, and trains on images of its own
    keep = splits.stratified(true, spec.train_size, rng.stream(spec.seed, "subset"))
    test = splits.stratified(arrays.test_labels, spec.test_size, rng.stream(0, "test_subset"))
    if round((1 - spec.holdout) * len(keep)) <= 0 or spec.num_clean > len(keep):
        raise ValueError(
            "holdout and clean_set must leave training points; "
            f"got {spec.holdout}, {spec.num_clean} of {len(keep)}"
        )
    kept, heldout = splits.hold_out(keep, spec.holdout, rng.stream(spec.seed, "holdout"))

    prepared = _on_device(arrays, kind, noisy, kept, heldout, test, device)
    return prepared, {
        "data_source": arrays.source,
        "data_hashes": arrays.hashes,
        "noise_measured": measured,
        "label_hash": hashlib.sha256(noisy[kept].tobytes()).hexdigest(),
        "train_points": len(kept),
        "heldout_points": len(heldout),
        "test_points": len(test),
    }


def _on_device(
    arrays: Arrays,
    kind: Dataset,
    noisy: np.ndarray,
    kept: np.ndarray,
    heldout: np.ndarray,
    test: np.ndarray,
    device: torch.device,
) -> Data:
    """The chosen images and labels as tensors; noisy: (n,) labels of the whole training set.

    kept, heldout, test: positions in the training set, and in the test set.
    """

    def images(pixels: np.ndarray) -> Images:
        return Images.of(pixels, kind.mean, kind.std, device)

    def labels(numbers: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(numbers.astype(np.int64)).to(device)

    # the true labels come along to measure with: nothing that trains on `given_labels` sees them
    return Data(
        images(arrays.train_images[kept]),
        labels(noisy[kept]),
        labels(arrays.train_labels[kept]),
        images(arrays.test_images[test]),
        labels(arrays.test_labels[test]),
        images(arrays.train_images[heldout]) if len(heldout) else None,
        labels(noisy[heldout]) if len(heldout) else None,
    )


def in_precision(
    spec: RunSpec, device: torch.device, options: Options, begun: str | None = None
) -> tuple[RunSpec, dict]:
    """The spec with `auto` resolved, and what provenance stores of that.

    begun: the precision of a checkpoint, which a run keeps to its end. Raises as `precision.choose`
    does.
    """
    chosen = spec.precision
    seconds = None
    if spec.precision == "auto":
        shape = data.DATASETS[spec.dataset].shape
        choice = precision.choose(device, spec.model, shape, spec.batch_size, options.cache)
        # a run that has begun in one precision ends in it, whatever a probe says by now
        chosen = begun or choice.precision
        seconds = choice.seconds or None
    return replace(spec, precision=chosen), {"precision": chosen, "precision_probe": seconds}


def new_model(spec: RunSpec, device: torch.device) -> nn.Module:
    """The spec's network with the initial weights of its seed, in channels-last layout."""
    kind = data.DATASETS[spec.dataset]
    model = resnet.build(spec.model, kind.shape[0], len(kind.classes), spec.seed)
    # torch's stubs do not know the argument
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
