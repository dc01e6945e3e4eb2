"""What must be so for a claim to be testable, measured from the records.

A method that keeps false labels from being learnt shows nothing where nobody learns them; a network
that is not trained to the end tells who made more steps; a ball that excludes nothing weighs
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robustfl.data import DATASETS
from robustfl.evidence.claims.measures import tested
from robustfl.study.record import Record

NETWORK = "resnet32"  # of the slides' runs


@dataclass(frozen=True)
class Precondition:
    """A number of one run, and how much of it, on the mean over seeds, a claim needs.

    read gives (low, high), which differ where a record bounds the number only.
    """

    read: Callable[[Record], tuple[float, float]]
    least: float
    unmet: str  # the sentence where it fails; {value} is what was measured, {least} the need
    unit: str = "%"

    def failure(self, records: list[Record]) -> str:
        """Why a claim is not testable on these runs; empty where it is."""
        low, high = (float(np.mean(side)) for side in zip(*(self.read(r) for r in records)))
        if low >= self.least:
            return ""
        if low == high:
            digits = 0 if self.unit == "%" else 1
            value = f"{high:.{digits}f} {self.unit}".replace("-", "−")
        else:  # bounds alone are known: either even the upper one fails, or it is open
            at_most = high < self.least
            value = f"at most {high:.0f} %" if at_most else f"{low:.0f} to {high:.0f} {self.unit}"
        return self.unmet.format(value=value, least=f"{self.least:g} {self.unit}")


def memorised(r: Record) -> tuple[float, float]:
    """Share of the false labels, %, that the model predicts when the run ends.

    Older records lack the column. Of the points trained on, those fitted to their given label are
    the true ones that are fitted and the false ones that are memorised, M; those fitted to their
    true label are the same true ones and those false ones, T, whose true label is seen through. So
    M - T = (given - true) / rate, and M + T is 100 % at most.
    """
    seen = [e["fit_false"] for e in r.curves if e["fit_false"] is not None]
    if seen:
        return seen[-1], seen[-1]
    rate = r.metrics["noise_measured"]
    if not rate:
        return 0.0, 0.0
    last = r.curves[-1]
    apart = (last["train_acc_given"] - last["train_acc_true"]) / rate
    return max(0.0, apart), max(0.0, (100 + apart) / 2)


def trained(r: Record) -> tuple[float, float]:
    """Accuracy on the points trained on, %, in the last epoch."""
    share = r.curves[-1]["train_acc_given"]
    return share, share


def excluded(r: Record) -> tuple[float, float]:
    """By how much, in points, the weights favour true labels at the best tested epoch."""
    best = max(tested(r.curves), key=lambda e: e["test_top1"])
    by_weight, by_number = best["weighted_precision"], best["label_precision"]
    moved = 0.0 if by_weight is None or by_number is None else 100 * (by_weight - by_number)
    return moved, moved


def trained_on(r: Record) -> tuple[float, float]:
    """Images of the data set, %, that the slides' network learns from; 0 for another network."""
    p = r.metrics["provenance"]
    images = p["train_points"] + p["heldout_points"]
    whole = DATASETS[r.spec.dataset].train_size
    share = 100 * images / whole if r.spec.model == NETWORK else 0.0
    return share, share


PRECONDITIONS = {
    "memorisation": Precondition(
        memorised,
        30.0,
        "full training has learnt {value} of the false labels; {least} are needed",
    ),
    "trained": Precondition(
        trained, 95.0, "full training ends at {value} training accuracy; {least} are needed"
    ),
    "exclusion": Precondition(
        excluded,
        2.0,
        "at the best epoch the ball has moved {value} of the weight to true labels; {least} are"
        " needed",
        unit="points",
    ),
    "size": Precondition(trained_on, 100.0, "the slides' network must train on all images"),
}
