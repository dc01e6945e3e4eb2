"""What a claim may be about: one number of one run, read where the run has used up a budget.

Adding a measure is one entry of MEASURES: how it is read, what the report calls it, its unit and
its step follow from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robustfl.evidence.tables import ACCURACIES, StudyRecords
from robustfl.study.curve_row import OBSERVE_EVERY
from robustfl.study.record import Record

__all__ = ["ACCURACIES", "BUDGETS", "MEASURES", "Measure", "within"]

# share of the epochs that "the early stage" means (slides, "Conclusion", which give no number)
EARLY = 0.1

# (run, its epochs within the budget, the study's records) -> the number, None where it has none
Reader = Callable[[Record, list[dict], StudyRecords], float | None]


@dataclass(frozen=True)
class Measure:
    """One number of a run. Every place that shows, rounds or tests it asks here."""

    key: str  # as claims.yaml and verdicts.csv name it
    read: Reader
    name: str  # in the report's tables
    unit: str  # %: per cent; share: in [0, 1], shown in per cent; else shown as it is
    step: str = ""  # key of provenance: what counts the images of which one changes the measure
    # A count that follows from the spec alone, k = max(1, floor(ratio n_c)) picks per class and
    # epoch, whatever the seed. The hold-out's class counts differ between seeds by a few images,
    # so several seeds are averaged like anything else.
    exact: bool = False

    @property
    def share(self) -> bool:
        """Whether it lies in [0, 1] and is shown in per cent."""
        return self.unit == "share"

    def resolution(self, r: Record) -> float:
        """By how much one image changes it, in its unit; 0 where no single image does."""
        if not self.step:
            return 0.0
        return (1 if self.share else 100) / r.metrics["provenance"][self.step]


# readers


def tested(epochs: list[dict]) -> list[dict]:
    """Those of the epochs after which the run was tested."""
    return [e for e in epochs if e["test_top1"] is not None]


def best_top1(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
    """Test accuracy of the best epoch, %, which is what the slides report."""
    return max((e["test_top1"] for e in tested(epochs)), default=None)


def last_top1(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
    """Test accuracy of the last tested epoch, %."""
    return tested(epochs)[-1]["test_top1"] if tested(epochs) else None


def best_top5(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
    """Test images, %, whose label is among the five highest scores, at the best such epoch."""
    return max((e["test_top5"] for e in tested(epochs)), default=None)


def last_top5(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
    """The same at the last tested epoch."""
    return tested(epochs)[-1]["test_top5"] if tested(epochs) else None


def early_epochs(r: Record) -> int:
    """How many of a run's epochs are its early stage."""
    return max(1, round(EARLY * r.spec.epochs))


def early_test_top1(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
    """Mean test accuracy over the early stage, %."""
    values = [e["test_top1"] for e in tested(r.curves) if e["epoch"] <= early_epochs(r)]
    return float(np.mean(values)) if values else None


def early_fit(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
    """Mean accuracy on the whole training set over the early stage, %.

    It is read where runs of every method have it: before each tenth epoch but the first. None
    where the early stage is shorter than that, and in records that lack the column.
    """
    values = [
        e["fit"]
        for e in r.curves[1:]
        if (e["epoch"] - 1) % OBSERVE_EVERY == 0
        and e["epoch"] - 1 <= early_epochs(r)
        and e["fit"] is not None
    ]
    return float(np.mean(values)) if values else None


def gap(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
    """Accuracy on the whole training set minus that on the test set, points, when the run ends.

    None in records that lack the former.
    """
    fitted = [e["fit"] for e in epochs if e["fit"] is not None]
    if not fitted or not tested(epochs):
        return None
    return fitted[-1] - tested(epochs)[-1]["test_top1"]


def over_selections(column: str) -> Reader:
    """Mean of a column over the epochs that had a selection; None where none had."""

    def read(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
        values = [e[column] for e in epochs if e[column] is not None]
        return float(np.mean(values)) if values else None

    return read


def metric(key: str) -> Reader:
    """A number of metrics.json, of the whole run."""
    return lambda r, epochs, _: r.metrics[key]


def with_pretraining(plain: Reader) -> Reader:
    """The cost of a run plus that of the run whose finished model it selects from."""

    def read(r: Record, epochs: list[dict], gathered: StudyRecords) -> float | None:
        cost = plain(r, epochs, gathered)
        before = gathered.study.pretraining_name(r.name)
        if cost is None or before is None:
            return cost

        # several runs may share one pretraining; each is charged for all of it
        earlier = plain(gathered.records[before], [], gathered)
        return None if earlier is None else cost + earlier

    return read


BACKWARDS = metric("backwards")
MEASURES = {
    measure.key: measure
    for measure in (
        Measure("best_top1", best_top1, "best", "%", "test_points"),
        Measure("last_top1", last_top1, "last", "%", "test_points"),
        Measure("best_top5", best_top5, "best top-5", "%", "test_points"),
        Measure("last_top5", last_top5, "last top-5", "%", "test_points"),
        Measure("early_fit", early_fit, "early accuracy on the whole training set", "%"),
        Measure("early_test_top1", early_test_top1, "early test accuracy", "%", "test_points"),
        Measure("generalisation_gap", gap, "training minus test accuracy", "%"),
        Measure("covered", metric("covered"), "data covered", "share", "train_points"),
        Measure(
            "label_precision",
            over_selections("label_precision"),
            "true labels among picks",
            "share",
            "train_points",
        ),
        Measure(
            "weighted_precision",
            over_selections("weighted_precision"),
            "weight on true labels",
            "share",
            "train_points",
        ),
        Measure("backwards", BACKWARDS, "backward passes", "images", exact=True),
        Measure("forwards", metric("forwards"), "forward passes", "images", exact=True),
        Measure("energy", metric("energy"), "energy", "J"),
        Measure(
            "backwards_with_pretraining",
            with_pretraining(BACKWARDS),
            "backward passes, with pretraining",
            "images",
            exact=True,
        ),
    )
}


# What may be held equal: the cost a run has used up after each epoch. `passes` counts a backward
# pass as two forward ones, the usual estimate of its arithmetic, and so charges a selection for the
# forward passes it needs.
BUDGETS: dict[str, Callable[[Record], list[float]]] = {
    "epochs": lambda r: [e["epoch"] for e in r.curves],
    "backwards": lambda r: [e["backwards"] for e in r.curves],
    "passes": lambda r: [e["forwards"] + 2 * e["backwards"] for e in r.curves],
}


def within(r: Record, budget: str, limit: float) -> list[dict]:
    """The epochs of a run that end within `limit` of a budget; at least the first."""
    spent = BUDGETS[budget](r)
    return [e for e, s in zip(r.curves, spent) if s <= limit] or r.curves[:1]
