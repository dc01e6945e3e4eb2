"""Differences between rows, seed by seed, and how to say them in words."""

from __future__ import annotations

from robustfl.evidence import paired_tests
from robustfl.evidence.claims.measures import MEASURES
from robustfl.evidence.paired_tests import Estimate
from robustfl.evidence.tables import StudyRecords, values
from robustfl.study.experiments import Row

BEST = "best_top1"


def contrast(gathered: StudyRecords, a: Row, b: Row) -> Estimate:
    """a - b in best accuracy, points, paired by seed; an accuracy is rounded to one test image."""
    pairs = gathered.paired(a, b)
    differences = [x.metrics[BEST] - y.metrics[BEST] for x, y in pairs]
    step = MEASURES[BEST].resolution(gathered.runs_of(a)[0])
    return paired_tests.estimate(differences, step)


def mean(gathered: StudyRecords, row: Row, key: str = BEST) -> float:
    """Mean over a row's seeds of a number that every run has.

    Raises ValueError where one lacks it.
    """
    numbers = values(gathered.runs_of(row), key)
    if numbers is None:
        raise ValueError(f"{key} must be in every record of {row.label}; it is not")
    return sum(numbers) / len(numbers)


def with_sign(value: float, digits: int = 2) -> str:
    """+1.96, −0.40 (a true minus sign), 0.00.

    >>> with_sign(-0.404), with_sign(1.96, 1), with_sign(-0.001)
    ('−0.40', '+2.0', '0.00')
    """
    # what rounds to 0 has no sign: -0.001 would read as a loss
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def interval(e: Estimate) -> str:
    """`+1.96 [+0.40, +3.52]`, or `+1.96 (one seed)`."""
    if e.low is None or e.high is None:
        return f"{with_sign(e.mean)} (one seed)"
    return f"{with_sign(e.mean)} [{with_sign(e.low)}, {with_sign(e.high)}]"


def points(e: Estimate) -> str:
    """`+1.96 points (95 % interval +0.40 to +3.52, 3 seeds)`."""
    if e.low is None or e.high is None:
        return f"{with_sign(e.mean)} points (one seed)"
    interval = f"95 % interval {with_sign(e.low)} to {with_sign(e.high)}"
    return f"{with_sign(e.mean)} points ({interval}, {e.seeds} seeds)"


def beside_slides(e: Estimate, published: float) -> str:
    """One clause: does the difference have the slides' sign, and is it clear of seed noise."""
    if abs(e.mean) < 0.005:
        same = "no difference where the slides have one"
    elif (e.mean > 0) == (published > 0):
        same = "the slides' sign"
    else:
        same = "the opposite sign of the slides'"
    if e.low is None or e.high is None:
        return f"{same}, on one seed"
    clear = e.low > 0 or e.high < 0
    return f"{same}, {'clear of' if clear else 'within'} seed noise"


def join_with_and(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
