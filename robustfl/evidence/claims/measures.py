"""What a claim may be about: one number of one run, read where the run has used up a budget.

Adding a measure is one entry of MEASURES: how it is read, what the report calls it, its unit and
its step follow from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from robustfl.evidence.tables import ACCURACIES, StudyRecords
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


def heldout_top1(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
    """Test accuracy, %, of the epoch that is best on held-out data with given labels.

    None without a hold-out.
    """
    judged = [e for e in epochs if e["heldout_acc"] is not None]
    return max(judged, key=lambda e: e["heldout_acc"])["test_top1"] if judged else None


def early(column: str) -> Reader:
    """Mean of a column over the first tenth of the run's epochs."""

    def read(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
        first = [e for e in r.curves if e["epoch"] <= max(1, round(EARLY * r.spec.epochs))]
        values = [e[column] for e in first if e[column] is not None]
        return float(np.mean(values)) if values else None

    return read


def gap(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
    """Training minus test accuracy at the last epoch, points: what does not carry over."""
    if not tested(epochs):
        return None
    last = tested(epochs)[-1]
    return last["train_acc_given"] - last["test_top1"]


def over_selections(column: str) -> Reader:
    """Mean of a column over the epochs that had a selection; None where none had."""

    def read(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
        values = [e[column] for e in epochs if e[column] is not None]
        return float(np.mean(values)) if values else None

    return read


def metric(key: str) -> Reader:
    """A number of metrics.json, of the whole run."""
    return lambda r, epochs, _: r.metrics[key]


def seconds(*parts: str) -> Reader:
    """Seconds of the whole run spent on the parts together."""
    return lambda r, epochs, _: sum(r.metrics["seconds"][p] for p in parts)


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


TRAINING = seconds("select", "train")  # evaluation is the same for all and no part of a method
BACKWARDS = metric("backwards")
MEASURES = {
    measure.key: measure
    for measure in (
        Measure("best_top1", best_top1, "best", "%", "test_points"),
        Measure("last_top1", last_top1, "last", "%", "test_points"),
        Measure("heldout_top1", heldout_top1, "held-out", "%", "test_points"),
        Measure("early_train_acc", early("train_acc_given"), "early training accuracy", "%"),
        Measure("early_test_top1", early("test_top1"), "early test accuracy", "%", "test_points"),
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
        Measure("seconds", TRAINING, "seconds", "s"),
        Measure("energy", metric("energy"), "energy", "J"),
        Measure("select_seconds", seconds("select"), "seconds of selecting", "s"),
        Measure(
            "backwards_with_pretraining",
            with_pretraining(BACKWARDS),
            "backward passes, with pretraining",
            "images",
            exact=True,
        ),
        Measure(
            "seconds_with_pretraining",
            with_pretraining(TRAINING),
            "seconds, with pretraining",
            "s",
        ),
    )
}


def _seconds_so_far(r: Record) -> list[float]:
    return list(accumulate(t["select"] + t["train"] for t in r.timings))


# What may be held equal: the cost a run has used up after each epoch. `passes` counts a backward
# pass as two forward ones, the usual estimate of its arithmetic, and so charges a selection for the
# forward passes it needs.
BUDGETS: dict[str, Callable[[Record], list[float]]] = {
    "epochs": lambda r: [e["epoch"] for e in r.curves],
    "backwards": lambda r: [e["backwards"] for e in r.curves],
    "passes": lambda r: [e["forwards"] + 2 * e["backwards"] for e in r.curves],
    "seconds": _seconds_so_far,
}


def within(r: Record, budget: str, limit: float) -> list[dict]:
    """The epochs of a run that end within `limit` of a budget; at least the first."""
    spent = BUDGETS[budget](r)
    return [e for e, s in zip(r.curves, spent) if s <= limit] or r.curves[:1]
