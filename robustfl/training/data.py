"""The images and labels of one run, on its device."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from robustfl.training.augment import Images


@dataclass(frozen=True)
class Data:
    """The n training images of a run, its test images and, where the spec asks for one, a hold-out.

    given_labels: (n,) int64, the labels that are trained on. true_labels: (n,) int64, the labels
    before noise. test_labels: int64, free of noise. heldout_labels: int64, given labels, with the
    noise of the training set. All tensors are on one device.
    """

    images: Images
    given_labels: torch.Tensor
    true_labels: torch.Tensor
    test: Images
    test_labels: torch.Tensor
    heldout: Images | None = None
    heldout_labels: torch.Tensor | None = None
