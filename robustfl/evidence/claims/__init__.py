"""The claims of config/claims.yaml against the records: reproduced, not reproduced or inconclusive.

A claim is expanded into comparisons (a pair of rows, or a row and the slides' number, under one
reading of the greedy rule); each comparison gives one verdict per measure and budget. Statistics
are paired by seed: robustfl.evidence.paired_tests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from itertools import combinations
from pathlib import Path
from typing import Any

from robustfl.evidence import paired_tests
from robustfl.evidence.claims.measures import ACCURACIES, BUDGETS, MEASURES, Measure, within
from robustfl.evidence.paired_tests import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED, Estimate
from robustfl.evidence.tables import (
    GREEDY_VARIANTS,
    StudyRecords,
    display_label,
    row_of,
    row_under,
)
from robustfl.study import experiments
from robustfl.study.experiments import (
    CONFIG_DIR,
    Group,
    Row,
    Study,
    StudyError,
    read_yaml,
    scales,
)


@dataclass(frozen=True, eq=False)
class Claim:
    """One entry of claims.yaml; workflow/schemas/claims.schema.yaml checks its form.

    The statistic is over - under, over / under with `ratio`, or a row's own number; it is claimed
    to lie within `bounds`.
    """

    key: str
    says: str
    slide: str
    group: str | None = None
    order: tuple = ()  # rows, best first: each pair (`pairs`: all | adjacent) is a comparison
    pairs: str = "all"
    compare: tuple = ()  # (row, row) pairs of the group, the better first
    rows: tuple = ()  # rows held against the slides' `published` number
    published: str | None = None
    over: dict | None = None  # {group, row or list of rows, method?}
    under: dict | None = None  # the same; without `row`: the row of `over`
    ratio: bool = False  # the statistic is over / under instead of over - under
    above: float | None = None
    below: float | None = None
    tolerance: float | None = None  # claimed: within +- tolerance of the slides' value
    measures: tuple = ACCURACIES
    budgets: tuple = ("epochs",)
    rules: tuple = tuple(GREEDY_VARIANTS)
    needs: str | None = None  # what the scale must bear, see `bears` in scales.yaml
    headline: bool = False  # stands in words at the head of the report: first measure and budget

    @property
    def bounds(self) -> tuple[float, float]:
        """(low, high) the statistic is claimed to lie in; above 0 where the entry has no bound."""
        if self.tolerance is not None:
            return -self.tolerance, self.tolerance
        if self.above is None and self.below is None:
            return 0.0, math.inf
        return (
            -math.inf if self.above is None else self.above,
            math.inf if self.below is None else self.below,
        )


@dataclass(frozen=True)
class Side:
    """One side of a comparison, as a claim names it."""

    group: str
    row: str
    method: str | None = None  # None: the selector is the greedy rule that is judged

    def find(self, group: Group, rule: str) -> Row | None:
        """The side's row of its group under a rule; None where the group has no such row."""
        if self.method is not None:
            return row_of(group, self.row, self.method)
        return row_under(group, self.row, rule)


@dataclass(frozen=True)
class Comparison:
    """Two rows, or a row and the slides' number (under is None), read under one greedy rule."""

    claim: Claim
    part: str
    rule: str | None  # None where neither row depends on the rule
    over: Row
    under: Row | None
    published: float | None  # the slides' value of the statistic

    @property
    def target(self) -> float:
        """What is taken off the statistic before it is held against the bounds."""
        if self.claim.tolerance is None or self.published is None:
            return 0.0
        return self.published


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
        return f"{self.verdict} ({self.reason})" if self.reason else self.verdict


# the file


def load(path: Path | str = CONFIG_DIR / "claims.yaml") -> list[Claim]:
    """The claims in the file's order.

    Raises StudyError for an unknown key and for a measure, budget or rule that does not exist.
    """
    claims = []
    for key, entry in read_yaml(Path(path)).items():
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()
        }
        try:
            claim = Claim(key, **values)
        except TypeError as error:
            raise StudyError(f"{path}: claim {key}: {error}") from error
        for field, names, known in (
            ("measures", claim.measures, MEASURES),
            ("budgets", claim.budgets, BUDGETS),
            ("rules", claim.rules, GREEDY_VARIANTS),
        ):
            for name in names:
                if name not in known:
                    raise StudyError(
                        f"claims.yaml: claim {key}: {field} must be among {', '.join(known)}; "
                        f"got {name!r}"
                    )
        claims.append(claim)
    return claims


def check(study: Study) -> None:
    """Hold every name in the study's claims.yaml against its experiments.yaml, before runs exist.

    All groups of the file count, also those that this study leaves out. Raises StudyError naming
    the claim and the group, row, measure, budget or rule that does not exist.
    """
    names = list(read_yaml(study.directory / "experiments.yaml")["groups"])
    whole = experiments.load(
        study.scale, {"groups": names, "seeds": [study.seeds[0]]}, study.directory
    )
    for claim in load(study.directory / "claims.yaml"):
        for side in (side for pair in _sides(claim) for side in pair if side is not None):
            if side.group not in whole.groups:
                raise StudyError(
                    f"claims.yaml: claim {claim.key}: group must be among {', '.join(names)}; "
                    f"got {side.group!r}"
                )
            for rule in claim.rules:
                _row(claim, whole.groups[side.group], side, rule)


# claims -> comparisons


def comparisons(claim: Claim, gathered: StudyRecords) -> list[Comparison]:
    """A claim's comparisons among the study's groups; none where a group is not part of the study.

    Raises StudyError for a row that its group does not have.
    """
    found: dict[tuple, Comparison] = {}
    groups = gathered.study.groups
    for over, under in _sides(claim):
        if over.group not in groups or (under is not None and under.group not in groups):
            continue
        for rule in claim.rules:
            comparison = _comparison(claim, gathered, over, under, rule)
            found.setdefault((comparison.over, comparison.under), comparison)
    return list(found.values())


def _sides(claim: Claim) -> list[tuple[Side, Side | None]]:
    """(over, under) of each comparison; under is None for a claim about the slides' number."""
    if claim.over is not None:
        rows = claim.over["row"] if isinstance(claim.over["row"], list) else [claim.over["row"]]
        under = claim.under or {}
        return [(Side(**claim.over | {"row": row}), Side(**{"row": row} | under)) for row in rows]

    group = claim.group or ""
    if claim.rows:
        return [(Side(group, row), None) for row in claim.rows]
    pairs: Iterable = claim.compare
    if claim.order and claim.pairs == "all":
        pairs = combinations(claim.order, 2)
    elif claim.order:
        pairs = zip(claim.order, claim.order[1:])
    return [(Side(group, over), Side(group, under)) for over, under in pairs]


def _comparison(
    claim: Claim, gathered: StudyRecords, over: Side, under: Side | None, rule: str
) -> Comparison:
    """One comparison, of rows that both exist under the rule."""
    sides = [over] if under is None else [over, under]
    rows = [_row(claim, gathered.study.groups[side.group], side, rule) for side in sides]
    published = _published(claim, gathered, sides, rows)
    if claim.tolerance is not None and published is None:
        raise StudyError(
            f"claims.yaml: claim {claim.key}: tolerance needs the slides' numbers; "
            f"{[side.row for side in sides]} have none"
        )
    depends = any(
        side.method is None and row.method in GREEDY_VARIANTS for side, row in zip(sides, rows)
    )
    return Comparison(
        claim,
        part=(" / " if claim.ratio else " − ").join(display_label(row) for row in rows),
        rule=rule if depends else None,
        over=rows[0],
        under=None if under is None else rows[1],
        published=published,
    )


def _row(claim: Claim, group: Group, side: Side, rule: str) -> Row:
    row = side.find(group, rule)
    if row is None:
        raise StudyError(
            f"claims.yaml: claim {claim.key}: {side.group} has no row {side.row!r} under "
            f"{side.method or rule}"
        )
    return row


def _published(
    claim: Claim, gathered: StudyRecords, sides: list[Side], rows: list[Row]
) -> float | None:
    """The slides' value of the statistic; None where they have none."""
    if claim.measures != ACCURACIES and claim.published is None:
        return None
    key = claim.published or "best"
    numbers = [
        number
        for side, row in zip(sides, rows)
        if (number := _slide_number(gathered, side.group, row, key)) is not None
    ]
    if len(numbers) < len(sides):
        return None
    if len(sides) == 1:
        return numbers[0]
    # two readings of one row share one number of the slides, which says nothing of their difference
    if (sides[0].group, sides[0].row) == (sides[1].group, sides[1].row):
        return None
    return numbers[0] - numbers[1]


def _slide_number(gathered: StudyRecords, group: str, row: Row, key: str) -> float | None:
    """The slides' number of a row; of a group that has changes from its first row, the change."""
    numbers = gathered.slide_numbers(gathered.study.groups[group], row)
    changes = any("best_difference" in n for n in gathered.slides.get(group, {}).values())
    if key == "best" and changes:
        first = row.label == gathered.study.groups[group].rows[0].label
        return 0.0 if first else numbers.get("best_difference")
    return numbers.get(key)


# comparisons -> verdicts


def evaluate_comparison(
    c: Comparison, gathered: StudyRecords, measure: str, budget: str
) -> Verdict:
    """One verdict, from one statistic per seed."""
    kind = MEASURES[measure]
    verdict = Verdict(c, measure, budget, INCONCLUSIVE)
    samples, statistic = _statistic(c, gathered, kind, budget)
    if statistic is None:
        return replace(verdict, why=Why.NO_NUMBER)

    step = 0.0 if c.claim.ratio else kind.resolution(gathered.runs_of(c.over)[0])
    e = paired_tests.estimate(statistic, step, exact=kind.exact)
    verdict = replace(verdict, estimate=e, floor=paired_tests.seed_floor(samples))

    # a claim that this scale cannot bear is shown with its numbers, and not judged
    needs, study = c.claim.needs, gathered.study
    if needs is not None and needs not in study.about.bears:
        able = [s.name for s in scales(study.directory).values() if needs in s.bears]
        return replace(verdict, why=Why.OTHER_SCALE, scales=tuple(able))

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
    found = [
        evaluate_comparison(c, gathered, measure, budget)
        for claim in claims
        for c in comparisons(claim, gathered)
        for budget in claim.budgets
        for measure in claim.measures
    ]
    for family in {(v.measure, v.budget) for v in found}:
        members = [i for i, v in enumerate(found) if (v.measure, v.budget) == family]
        for i, p in zip(members, paired_tests.holm([found[i].p for i in members])):
            found[i] = replace(found[i], p_holm=p)
    return found


def combined_verdict(parts: list[str]) -> str:
    """Verdict of a claim with several comparisons: it holds if all do, fails if one does."""
    if NOT_REPRODUCED in parts:
        return NOT_REPRODUCED
    return REPRODUCED if parts and set(parts) == {REPRODUCED} else INCONCLUSIVE
