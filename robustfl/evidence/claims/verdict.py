"""From comparisons to verdicts: one per measure and budget, from one statistic per seed.

A verdict has two marks. The sign: does the statistic lie where the claim has it? The size: does the
interval hold the slides' value? Variances are shrunk to what all comparisons of a measure have in
common (`paired_tests.moderate`). Primary verdicts are corrected together; all others are
exploratory, and their intervals stand for themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from robustfl.evidence import paired_tests
from robustfl.evidence.claims.claim import Claim, Statistic, load
from robustfl.evidence.claims.comparison import BEST, Comparison, comparisons
from robustfl.evidence.claims.measures import BUDGETS, MEASURES, within
from robustfl.evidence.claims.preconditions import PRECONDITIONS
from robustfl.evidence.paired_tests import Estimate
from robustfl.evidence.tables import StudyRecords
from robustfl.study.experiments import Row
from robustfl.study.record import Record

SAME = 1.0  # points of accuracy within which two rows are called equal
FIRST_BUDGET = "epochs"


class Outcome(Enum):
    """What became of a claim; the values are the report's words."""

    REPRODUCED = "reproduced"
    BY_SELECTION = "reproduced by selection"  # over a random subset of the same size too
    AS_RANDOM = "reproduced, but not above random"
    NOT_REPRODUCED = "not reproduced"
    NO_DIFFERENCE = "no difference beyond 1 point"
    UNDECIDED = "undecided"
    NOT_TESTABLE = "not testable here"
    FACT = "true by construction"
    UNTRUE = "untrue by construction"

    @property
    def holds(self) -> bool:
        """Whether the statistic lies where the claim has it."""
        return self in (Outcome.REPRODUCED, Outcome.BY_SELECTION, Outcome.AS_RANDOM)

    @property
    def decided(self) -> bool:
        """Whether the runs answer the claim, in whatever way."""
        return self not in (Outcome.UNDECIDED, Outcome.NOT_TESTABLE)


class Size(Enum):
    """Whether the interval holds the slides' value."""

    HOLDS = "the slides' size"
    SMALLER = "smaller than the slides'"
    LARGER = "larger than the slides'"
    OTHER_SIGN = "not the slides' sign"


@dataclass(frozen=True)
class Verdict:
    comparison: Comparison
    measure: str
    budget: str
    outcome: Outcome
    reason: str = ""  # why it is undecided or not testable, where the interval does not say so
    size: Size | None = None  # None where the slides have no value, or no interval is known
    estimate: Estimate | None = None  # None where a run has no such number
    p: float | None = None
    p_holm: float | None = None  # of a primary verdict, corrected with all of them
    detectable: float | None = None  # true difference found with power 0.8; of an undecided one
    random: Estimate | None = None  # over - random, where the claim names a random subset
    alone: Outcome | None = None  # its outcome before correction, where that has undone it

    @property
    def primary(self) -> bool:
        """Whether it is one of the comparisons that page 1 answers."""
        claim = self.comparison.claim
        return claim.primary and self.measure == claim.measures[0] and self.budget == FIRST_BUDGET

    @property
    def text(self) -> str:
        """The outcome, with its reason in brackets where there is one."""
        return f"{self.outcome.value} ({self.reason})" if self.reason else self.outcome.value


def verdicts(gathered: StudyRecords, claims: list[Claim] | None = None) -> list[Verdict]:
    """Every verdict of every claim that the study can speak of.

    claims: None = the study's own file. A comparison whose rows have no seed in common has none.
    """
    if claims is None:
        claims = load(gathered.study.directory / "claims.yaml")
    measured = [
        _measure(c, gathered, measure, budget)
        for claim in claims
        for c in comparisons(claim, gathered)
        if gathered.paired(*c.rows)
        for budget in claim.budgets
        for measure in claim.measures
    ]
    judged = [_judge(v, gathered) for v in _moderated(measured)]

    # the primary family alone is corrected: it was named before the runs, the rest looks around
    family = [i for i, v in enumerate(judged) if v.primary]
    for i, v in zip(family, corrected([judged[i] for i in family])):
        judged[i] = v
    return judged


def corrected(family: list[Verdict]) -> list[Verdict]:
    """The verdicts as one family, by Holm's correction, whatever family they were of before."""
    by_itself = [
        v
        if v.alone is None
        else replace(v, outcome=v.alone, alone=None, reason="", detectable=None)
        for v in family
    ]
    p_values = paired_tests.holm([v.p for v in by_itself])
    return [_corrected(v, p) for v, p in zip(by_itself, p_values)]


# first what was measured


def _measure(c: Comparison, gathered: StudyRecords, measure: str, budget: str) -> Verdict:
    """A verdict with its plain estimates alone."""
    verdict = Verdict(c, measure, budget, Outcome.UNDECIDED)
    numbers = _numbers(c.rows, gathered, measure, budget)
    if numbers is None:
        return replace(verdict, outcome=Outcome.NOT_TESTABLE, reason="no such number")
    statistic = _statistic(c, numbers)
    if statistic is None:
        return replace(verdict, outcome=Outcome.NOT_TESTABLE, reason="nothing to divide by")

    # the rounding, to whole images or to whole pairs of an order, bounds the spread from below
    kind = MEASURES[measure]
    step = 0.0
    if c.claim.statistic in (Statistic.DIFFERENCE, Statistic.DISTANCE):
        step = kind.resolution(gathered.runs_of(c.over)[0])
    elif c.claim.statistic is Statistic.ORDER:
        step = paired_tests.order_step(len(c.rows))
    verdict = replace(verdict, estimate=paired_tests.estimate(statistic, step, exact=kind.exact))

    # the same against the random subset of the same size, where the claim names one
    if c.random is not None:
        rows = (c.over, c.random)
        pairs = _numbers(rows, gathered, measure, budget) if gathered.paired(*rows) else None
        if pairs is not None:
            differences = [a - b for a, b in pairs]
            verdict = replace(verdict, random=paired_tests.estimate(differences, step))
    return verdict


def _numbers(
    rows: tuple[Row, ...], gathered: StudyRecords, measure: str, budget: str
) -> list[list[float]] | None:
    """Per seed, one number per row; None where a run lacks it."""
    per_seed = []
    for runs in gathered.paired(*rows):
        # what the cheapest run of the seed has spent when it ends
        limit = math.inf
        if budget != FIRST_BUDGET:
            limit = min(BUDGETS[budget](r)[-1] for r in runs)
        read = MEASURES[measure].read
        numbers = [read(r, within(r, budget, limit), gathered) for r in runs]
        present = [n for n in numbers if n is not None]
        if len(present) < len(numbers):
            return None
        per_seed.append(present)
    return per_seed


def _statistic(c: Comparison, numbers: list[list[float]]) -> list[float] | None:
    """The claim's statistic per seed; None where a ratio has nothing to divide by."""
    kind = c.claim.statistic
    if kind is Statistic.ORDER:
        return [paired_tests.order_score(seed) for seed in numbers]
    if kind is Statistic.RATIO:
        return None if any(b == 0 for _, b in numbers) else [a / b for a, b in numbers]
    if len(c.rows) == 1:
        return [value - c.target for (value,) in numbers]
    return [a - b - c.target for a, b in numbers]


def _moderated(measured: list[Verdict]) -> list[Verdict]:
    """The verdicts with intervals from shrunken variances.

    A prior is fitted to the differences of each measure and budget; other statistics, and counts
    that no seed changes, keep Student's interval.
    """
    moderated = list(measured)
    for family in {(v.measure, v.budget) for v in measured}:
        members = [
            i
            for i, v in enumerate(measured)
            if (v.measure, v.budget) == family
            and v.comparison.claim.statistic is Statistic.DIFFERENCE
            and not MEASURES[v.measure].exact
        ]
        # a pair of rows speaks once of the common variance, however many claims name it
        spreads = {}
        for i in members:
            e = measured[i].estimate
            if e is not None and e.sd:
                spreads[measured[i].comparison.rows] = (e.sd**2, e.seeds - 1)
        prior = paired_tests.fit_prior(list(spreads.values()))
        for i in members:
            v = measured[i]
            moderated[i] = replace(
                v,
                estimate=v.estimate and paired_tests.moderate(v.estimate, prior),
                random=v.random and paired_tests.moderate(v.random, prior),
            )
    return moderated


# then what follows from it


def _judge(v: Verdict, gathered: StudyRecords) -> Verdict:
    """The verdict with its two marks."""
    e = v.estimate
    if e is None:
        return v
    c = v.comparison
    low, high = c.claim.bounds
    if c.claim.fact:
        return replace(v, outcome=Outcome.FACT if low < e.mean < high else Outcome.UNTRUE)

    # a claim that these runs cannot test is shown with its numbers, and not judged
    unmet = _unmet(c, gathered)
    if unmet:
        return replace(v, outcome=Outcome.NOT_TESTABLE, reason=unmet)
    if e.low is None or e.high is None:
        return replace(v, reason="one seed")

    # the whole interval decides; the test is against the bound that is nearer to the mean
    bound = paired_tests.nearest_bound(e, low, high)
    v = replace(v, p=paired_tests.p_value(e, bound), size=_size(v))
    word = paired_tests.decide(e, low, high)
    if word == paired_tests.REPRODUCED:
        return replace(v, outcome=_against_random(v))
    if word == paired_tests.NOT_REPRODUCED:
        return replace(v, outcome=Outcome.NOT_REPRODUCED)

    # not decided: either there is next to nothing to find, or these seeds cannot find it
    if _means_points(v) and paired_tests.equivalent(e, SAME):
        return replace(v, outcome=Outcome.NO_DIFFERENCE)
    return replace(v, detectable=paired_tests.detectable(e))


def _unmet(c: Comparison, gathered: StudyRecords) -> str:
    """Why the runs cannot test the claim; empty where they can."""
    for name in c.claim.needs:
        row = dict(c.measured_on).get(name)
        records: list[Record] = [] if row is None else gathered.runs_of(row)
        if not records:
            return f"nothing shows whether {name} is given"
        failure = PRECONDITIONS[name].failure(records)
        if failure:
            return failure
    return ""


def slides_value(v: Verdict) -> float | None:
    """The slides' value of the statistic; None for a measure or budget that they do not give."""
    of_slides = v.comparison.claim.published is not None or v.measure == BEST
    return v.comparison.published if of_slides and v.budget == FIRST_BUDGET else None


def _size(v: Verdict) -> Size | None:
    """Where the slides' value lies."""
    e, published = v.estimate, slides_value(v)
    if published is None or e is None or e.low is None or e.high is None:
        return None
    at = published - v.comparison.target
    if e.low <= at <= e.high:
        return Size.HOLDS
    if e.mean * at < 0:
        return Size.OTHER_SIGN
    # by distance from no effect, so that a smaller loss is smaller too
    return Size.SMALLER if abs(e.mean) < abs(at) else Size.LARGER


def _against_random(v: Verdict) -> Outcome:
    """What a statistic that lies as claimed amounts to, where a random subset could do it too."""
    if v.comparison.random is None:
        return Outcome.REPRODUCED
    r = v.random
    above = r is not None and r.low is not None and r.low > 0
    return Outcome.BY_SELECTION if above else Outcome.AS_RANDOM


def _means_points(v: Verdict) -> bool:
    """Whether the statistic is a difference of two accuracies, in points, claimed not to be 0."""
    plain = v.comparison.claim.statistic is Statistic.DIFFERENCE
    return plain and MEASURES[v.measure].unit == "%" and 0.0 in v.comparison.claim.bounds


def _corrected(v: Verdict, p_holm: float | None) -> Verdict:
    """A primary verdict after correction: what does not survive it is undecided."""
    v = replace(v, p_holm=p_holm)
    by_interval = v.outcome.holds or v.outcome is Outcome.NOT_REPRODUCED
    if by_interval and p_holm is not None and p_holm >= 1 - paired_tests.LEVEL:
        return replace(
            v,
            outcome=Outcome.UNDECIDED,
            alone=v.outcome,
            reason="decided alone, not after correction",
            detectable=None if v.estimate is None else paired_tests.detectable(v.estimate),
        )
    return v


def combined_outcome(parts: list[Outcome]) -> Outcome:
    """Outcome of a claim with several comparisons: it holds if all do, fails if one does."""
    for word in (Outcome.NOT_REPRODUCED, Outcome.UNTRUE, Outcome.NO_DIFFERENCE):
        if word in parts:
            return word
    if parts and all(part.holds for part in parts):
        # the weakest of them
        order = (Outcome.AS_RANDOM, Outcome.REPRODUCED, Outcome.BY_SELECTION)
        return next(word for word in order if word in parts)
    if len(set(parts)) == 1:
        return parts[0]
    return Outcome.UNDECIDED


def floor(gathered: StudyRecords, group: str) -> Estimate | None:
    """What chance alone does in a group: full training with another shuffle, minus full training.

    Best accuracy, points; None where the group or its runs lack the two rows.
    """
    found = gathered.study.groups.get(group)
    rows = {row.label: row for row in found.rows} if found else {}
    if not {"full", "full, another shuffle"} <= set(rows):
        return None
    pairs = gathered.paired(rows["full, another shuffle"], rows["full"])
    if not pairs:
        return None
    differences = [a.metrics[BEST] - b.metrics[BEST] for a, b in pairs]
    return paired_tests.estimate(list(np.asarray(differences, dtype=float)))
