"""A row of curves.csv: its columns, in order, each with its unit and meaning.

docs/records.md's table is made of them, by `python -m robustfl.study.record_docs`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

# Epochs between two looks at the whole training set of a run whose selection does not look at it.
OBSERVE_EVERY = 10


class Column(NamedTuple):
    unit: str
    meaning: str
    added: bool  # came later: a record made before it lacks it, and reads as None there


def column(unit: str, meaning: str) -> Any:
    """A column that has a value in every epoch."""
    return dataclasses.field(metadata={"column": Column(unit, meaning, False)})


def sometimes(unit: str, meaning: str, added: bool = False) -> Any:
    """A column that may be empty, which is None here."""
    metadata = {"column": Column(unit, meaning, added)}
    return dataclasses.field(default=None, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class CurveRow:
    """What an epoch was trained on and what came of it; the fields are the columns of the file."""

    epoch: int = column("1, 2, …", "the epoch this row ends")
    lr: float = column("1", "learning rate during the epoch")
    train_loss: float = column(
        "nats",
        "mean of the weighted cross entropy over the images trained on, augmented, while training",
    )
    train_acc_given: float = column(
        "%", "images trained on whose prediction, while training, is their given label"
    )
    train_acc_true: float = column("%", "the same against the true label")
    test_loss: float | None = sometimes("nats", "mean cross entropy on the test set")
    test_top1: float | None = sometimes(
        "%",
        "after every `test_every`-th epoch and the last, as all columns of tests; test images whose"
        " label has the highest score (TensorBoard tag of the slides: `acc/test_top1`)",
    )
    test_top5: float | None = sometimes(
        "%", "test images whose label is among the five highest scores (`acc/test_top5`)"
    )
    heldout_acc: float | None = sometimes(
        "%",
        "top-1 accuracy on the held-out part of the training set, against its given (noisy) labels",
    )
    selected: int = column("images", "size of the subset the epoch trained on")
    label_precision: float | None = sometimes("share, 0 to 1", "picks whose given label is true")
    weighted_precision: float | None = sometimes(
        "share, 0 to 1",
        "the same by weight: weight of the picks with a true label over the weight of all picks",
    )
    label_recall: float | None = sometimes(
        "share, 0 to 1", "points with a true label that are picked"
    )
    overlap: float | None = sometimes(
        "share, 0 to 1",
        "picks that were in the selection before; empty for the first and where the selection is"
        " kept",
    )
    covered: float = column(
        "share, 0 to 1",
        'points picked at least once so far ("data covered"); 0 during warm-up',
    )
    covered_ball: float | None = sometimes(
        "share, 0 to 1",
        "points of a class within `radius` of one of its picks; only with ball weights",
    )
    objective: float | None = sometimes(
        "share, 0 to 1",
        "facility location value F of the picks over F of all points; only where distances were"
        " computed for a subset",
    )
    forwards: int = column(
        "passes",
        "forward passes so far: training, and the pass over the training set a selection needs;"
        " evaluation is not counted",
    )
    backwards: int = column("passes", "backward passes so far")
    fit: float | None = sometimes(
        "%",
        "of the whole training set, points whose given label the model predicts (no augmentation,"
        " eval mode) before the epoch; measured at each selection's own forward pass, else before"
        " every tenth epoch and the last, by a pass that is not counted. Empty elsewhere, and in"
        " older records",
        added=True,
    )
    fit_true: float | None = sometimes(
        "%", "the same of the points whose given label is true", added=True
    )
    fit_false: float | None = sometimes(
        "%",
        "the same of the points whose given label is false: memorisation; empty without label"
        " noise",
        added=True,
    )
    gradient_error: float | None = sometimes(
        "share",
        "|g_S − g| / |g|, g the mean gradient of the last layer over the training set, g_S its"
        " weighted mean over the subset; measured where `fit` is",
        added=True,
    )
    effective_size: float | None = sometimes(
        "share, 0 to 1",
        "(Σw)² / (k Σw²) of the selection's weights: the share of the subset that they leave in"
        " effect",
        added=True,
    )


def columns() -> dict[str, Column]:
    """Every column by name, in the order of the file."""
    return {f.name: f.metadata["column"] for f in dataclasses.fields(CurveRow)}
