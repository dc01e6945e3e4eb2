"""What a claim may be about: one number of one run, read where the run has used up a budget."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import numpy as np

from robustfl.evidence.tables import StudyRecords
from robustfl.study.record import Record

EARLY = 0.1  # share of the epochs that "the early stage" means (slides, "Conclusion"; the slides give no number)


def tested(epochs: list[dict]) -> list[dict]:
    """Those of the epochs after which the run was tested."""
    return [e for e in epochs if e["test_top1"] is not None]


def best_top1(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
    return max((e["test_top1"] for e in tested(epochs)), default=None)


def last_top1(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
    return tested(epochs)[-1]["test_top1"] if tested(epochs) else None


def heldout_top1(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
    """Test accuracy of the epoch that is best on held-out data with given labels; None without a hold-out."""
    held = [e for e in epochs if e["heldout_acc"] is not None]
    return max(held, key=lambda e: e["heldout_acc"])["test_top1"] if held else None


def early(column: str) -> Callable:
    def measure(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
        first = [e for e in r.curves if e["epoch"] <= max(1, round(EARLY * r.spec.epochs))]
        told = [e[column] for e in first if e[column] is not None]
        return float(np.mean(told)) if told else None

    return measure


def gap(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
    """Training accuracy minus test accuracy at the last epoch, points: how much of the training does not carry over."""
    last = tested(epochs)[-1] if tested(epochs) else None
    return last and last["train_acc_given"] - last["test_top1"]


def over_selections(column: str) -> Callable:
    """Mean of a column over the epochs that had a selection; None where none had."""

    def measure(r: Record, epochs: list[dict], _: StudyRecords) -> float | None:
        got = [e[column] for e in epochs if e[column] is not None]
        return float(np.mean(got)) if got else None

    return measure


def metric(key: str) -> Callable:
    return lambda r, epochs, _: r.metrics[key]


def seconds(*parts: str) -> Callable:
    return lambda r, epochs, _: sum(r.metrics["seconds"][p] for p in parts)


def with_pretraining(plain: Callable) -> Callable:
    """The cost of a run plus that of the run whose finished model it selects from."""

    def measure(r: Record, epochs: list[dict], gathered: StudyRecords) -> float | None:
        before = gathered.study.pretraining_name(r.name)
        return plain(r, epochs, gathered) + (
            plain(gathered.records[before], [], gathered) if before else 0
        )

    return measure


TRAINING = seconds("select", "train")  # evaluation is the same for all and no part of a method
MEASURES: dict[str, Callable[[Record, list[dict], StudyRecords], float | None]] = {
    "best_top1": best_top1,
    "last_top1": last_top1,
    "heldout_top1": heldout_top1,
    "early_train_acc": early("train_acc_given"),
    "early_test_top1": early("test_top1"),
    "generalisation_gap": gap,
    "covered": metric("covered"),
    "label_precision": over_selections("label_precision"),
    "weighted_precision": over_selections("weighted_precision"),
    "backwards": metric("backwards"),
    "forwards": metric("forwards"),
    "seconds": TRAINING,
    "energy": metric("energy"),
    "select_seconds": seconds("select"),
    "backwards_with_pretraining": with_pretraining(metric("backwards")),
    "seconds_with_pretraining": with_pretraining(TRAINING),
}
# Counts that follow from the spec alone: k = max(1, floor(ratio n_c)) picks a class, an epoch, whatever the seed. The
# hold-out's class counts differ between seeds by a few images, so several seeds are averaged like anything else.
EXACT = frozenset({"backwards", "forwards", "backwards_with_pretraining"})
ACCURACIES = ("best_top1", "last_top1", "heldout_top1")


def resolution(measure: str, r: Record) -> float:
    """Step of a measure: accuracies move by one test image, shares by one point."""
    p = r.metrics["provenance"]
    if measure in ACCURACIES or measure == "early_test_top1":
        return 100 / p["test_points"]
    return (
        1 / p["train_points"]
        if measure in ("covered", "label_precision", "weighted_precision")
        else 0.0
    )


def _seconds_so_far(r: Record) -> list[float]:
    return list(accumulate(t["select"] + t["train"] for t in r.timings))


# What may be held equal: the cost a run has used up after each epoch. `passes` counts a backward pass as two forward
# ones, the usual estimate of its arithmetic, and so charges a selection for the forward passes it needs.
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
