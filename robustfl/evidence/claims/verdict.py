"""From comparisons to verdicts: one per measure and budget, from one statistic per seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

from robustfl.evidence import paired_tests
from robustfl.evidence.claims.claim import Claim, load
from robustfl.evidence.claims.comparison import Comparison, comparisons
from robustfl.evidence.claims.measures import BUDGETS, MEASURES, Measure, within
from robustfl.evidence.paired_tests import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED, Estimate
from robustfl.evidence.tables import StudyRecords
from robustfl.study.experiments import scales


class Why(Enum):
    """Why a verdict is inconclusive; the values are the report's words."""

    NO_NUMBER = "no such number"  # some run has no such number
    OTHER_SCALE = "needs scale"  # this scale does not bear what the claim needs
    ONE_SEED = "one seed"
    WIDE_INTERVAL = ""  # the interval reaches over a bound: the numbers beside it say so


@dataclass(frozen=True)
class Verdict:
    comparison: Comparison
    measure: str
    budget: str
    verdict: str
    why: Why | None = None  # of an inconclusive one
    scales: tuple[str, ...] = ()  # with Why.OTHER_SCALE: those that bear what the claim needs
    estimate: Estimate | None = None  # None where a run has no such number
    floor: float | None = None  # pooled standard deviation between seeds of single runs
    p: float | None = None
    needed: int | None = None  # seeds that would decide it; only for an inconclusive one
    p_holm: float | None = None

    @property
    def reason(self) -> str:
        """Why it is inconclusive, in words; empty for any other and for a wide interval."""
        if self.why is None:
            return ""
        if self.why is Why.OTHER_SCALE:
            return f"{self.why.value} {' or '.join(self.scales)}"
        return self.why.value

    @property
    def text(self) -> str:
        """The verdict, with its reason in brackets where there is one."""
        return f"{self.verdict} ({self.reason})" if self.reason else self.verdict


def evaluate_comparison(
    c: Comparison, gathered: StudyRecords, measure: str, budget: str
) -> Verdict:
    """One verdict, from one statistic per seed."""
    kind = MEASURES[measure]
    verdict = Verdict(c, measure, budget, INCONCLUSIVE)
    samples, statistic = _statistic(c, gathered, kind, budget)
    if statistic is None:
        return replace(verdict, why=Why.NO_NUMBER)

    # the rounding to whole images is known for differences alone, not for a ratio of two
    step = 0.0 if c.claim.ratio else kind.resolution(gathered.runs_of(c.over)[0])
    e = paired_tests.estimate(statistic, step, exact=kind.exact)
    verdict = replace(verdict, estimate=e, floor=paired_tests.seed_floor(samples))

    # a claim that this scale cannot bear is shown with its numbers, and not judged
    needs = c.claim.needs
    study = gathered.study
    if needs is not None and needs not in study.about.bears:
        able = [s.name for s in scales(study.directory).values() if needs in s.bears]
        return replace(verdict, why=Why.OTHER_SCALE, scales=tuple(able))

    # decide by the whole interval, and test against the bound that is nearer to the mean
    low, high = c.claim.bounds
    bound = paired_tests.nearest_bound(e, low, high)
    verdict = replace(
        verdict,
        verdict=paired_tests.decide(e, low, high),
        p=paired_tests.p_value(e, bound),
    )
    if verdict.verdict != INCONCLUSIVE:
        return verdict
    return replace(
        verdict,
        why=Why.ONE_SEED if e.seeds == 1 else Why.WIDE_INTERVAL,
        needed=paired_tests.seeds_needed(e, bound),
    )


def _statistic(
    c: Comparison, gathered: StudyRecords, measure: Measure, budget: str
) -> tuple[list[list[float]], list[float] | None]:
    """([each row's numbers], the statistic per seed).

    The statistic is None where a run lacks the number. A ratio has no sample of single runs.
    """
    rows = [c.over] if c.under is None else [c.over, c.under]
    samples: list[list[float]] = [[] for _ in rows]
    for runs in zip(*(gathered.runs_of(row) for row in rows)):
        # what the cheaper run of the seed has spent when it ends
        limit = min(BUDGETS[budget](r)[-1] for r in runs) if budget != "epochs" else math.inf
        for sample, r in zip(samples, runs):
            number = measure.read(r, within(r, budget, limit), gathered)
            if number is None:
                return samples, None
            sample.append(number)

    if c.under is None:
        return samples, [value - c.target for value in samples[0]]
    pairs = list(zip(*samples))
    if c.claim.ratio:
        return [], None if 0 in samples[1] else [a / b for a, b in pairs]
    return samples, [a - b - c.target for a, b in pairs]


def verdicts(gathered: StudyRecords, claims: list[Claim] | None = None) -> list[Verdict]:
    """Every verdict of every claim that the study can speak of.

    Holm's correction is taken within each measure and budget. claims: None = the study's own file.
    """
    if claims is None:
        claims = load(gathered.study.directory / "claims.yaml")
    judged = [
        evaluate_comparison(c, gathered, measure, budget)
        for claim in claims
        for c in comparisons(claim, gathered)
        for budget in claim.budgets
        for measure in claim.measures
    ]

    # a family of tests: same measure, same budget; a p of None stands aside
    for family in {(v.measure, v.budget) for v in judged}:
        members = [i for i, v in enumerate(judged) if (v.measure, v.budget) == family]
        for i, p in zip(members, paired_tests.holm([judged[i].p for i in members])):
            judged[i] = replace(judged[i], p_holm=p)
    return judged


def combined_verdict(parts: list[str]) -> str:
    """Verdict of a claim with several comparisons: it holds if all do, fails if one does."""
    if NOT_REPRODUCED in parts:
        return NOT_REPRODUCED
    return REPRODUCED if parts and set(parts) == {REPRODUCED} else INCONCLUSIVE
