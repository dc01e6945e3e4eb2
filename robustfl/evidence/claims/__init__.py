"""The claims of config/claims.yaml against the records: reproduced, not reproduced or inconclusive, and how sure.

A claim is expanded into comparisons (a pair of rows, or a row and the slides' number, under one reading of the greedy
rule), a comparison into verdicts (one a measure and budget). Statistics are paired by seed: robustfl.evidence.paired_tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from robustfl.evidence import paired_tests
from robustfl.evidence.claims.measures import (
    ACCURACIES,
    BUDGETS,
    EXACT,
    MEASURES,
    resolution,
    within,
)
from robustfl.evidence.paired_tests import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED, Estimate
from robustfl.evidence.tables import GREEDY_VARIANTS, StudyRecords, display_label, row_of
from robustfl.study.experiments import CONFIG_DIR, Row, StudyError, read_yaml, scales


@dataclass(frozen=True, eq=False)
class Claim:
    """One entry of claims.yaml; its schema, workflow/schemas/claims.schema.yaml, says what each key means."""

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
    tolerance: float | None = (
        None  # the statistic is its distance from the slides' value, claimed within +- tolerance
    )
    measures: tuple = ACCURACIES
    budgets: tuple = ("epochs",)
    rules: tuple = tuple(GREEDY_VARIANTS)
    needs: str | None = None  # what the scale must bear, see `bears` in scales.yaml
    headline: bool = (
        False  # told in words at the head of the report, by its first measure and budget
    )

    @property
    def bounds(self) -> tuple[float, float]:
        """(low, high) the statistic is claimed to lie in; above 0 where the entry gives no bound."""
        if self.tolerance is not None:
            return -self.tolerance, self.tolerance
        if self.above is None and self.below is None:
            return 0.0, math.inf
        return (
            -math.inf if self.above is None else self.above,
            math.inf if self.below is None else self.below,
        )


@dataclass(frozen=True)
class Comparison:
    """Two rows, or a row and the slides' number (under is None), read under one greedy rule."""

    claim: Claim
    part: str
    rule: str | None  # None where neither row depends on the rule
    over: Row
    under: Row | None
    said: float | None  # the slides' value of the statistic

    @property
    def target(self) -> float:
        """What is taken off the statistic before it is held against the bounds."""
        return self.said if self.claim.tolerance is not None else 0.0


@dataclass(frozen=True)
class Verdict:
    comparison: Comparison
    measure: str
    budget: str
    verdict: str
    reason: str  # of an inconclusive one
    estimate: Estimate | None  # None where a run has no such number
    floor: float | None  # pooled standard deviation between seeds of single runs
    p: float | None
    needed: int | None  # seeds that would decide it; only for an inconclusive one
    p_holm: float | None = field(default=None)

    @property
    def text(self) -> str:
        return f"{self.verdict} ({self.reason})" if self.reason else self.verdict


def load(path: Path | str = CONFIG_DIR / "claims.yaml") -> list[Claim]:
    """The claims in the file's order. Raises StudyError for an unknown key."""
    found = []
    for key, entry in read_yaml(Path(path)).items():
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
        try:
            found.append(Claim(key, **values))
        except TypeError as error:
            raise StudyError(f"{path}: claim {key}: {error}") from error
    return found


def comparisons(claim: Claim, gathered: StudyRecords) -> list[Comparison]:
    """A claim's comparisons among the study's groups; none where a group is not part of the study.

    Raises StudyError for a row that its group does not have.
    """
    found: dict[tuple, Comparison] = {}
    for over, under in _sides(claim):
        for rule in claim.rules:
            made = _comparison(claim, gathered, over, under, rule)
            if made is not None:
                found.setdefault((made.over, made.under), made)
    return list(found.values())


def _sides(claim: Claim) -> list[tuple[dict, dict | None]]:
    """(over, under) as {group, row, method?}; under is None for a claim about the slides' number itself."""
    if claim.over:
        rows = claim.over["row"] if isinstance(claim.over["row"], list) else [claim.over["row"]]
        return [(claim.over | {"row": row}, {"row": row} | claim.under) for row in rows]
    if claim.rows:
        return [({"group": claim.group, "row": row}, None) for row in claim.rows]
    pairs = claim.compare
    if claim.order:
        pairs = (
            combinations(claim.order, 2)
            if claim.pairs == "all"
            else zip(claim.order, claim.order[1:])
        )
    return [({"group": claim.group, "row": a}, {"group": claim.group, "row": b}) for a, b in pairs]


def _comparison(
    claim: Claim, gathered: StudyRecords, over: dict, under: dict | None, rule: str
) -> Comparison | None:
    sides = [side for side in (over, under) if side is not None]
    if any(side["group"] not in gathered.study.groups for side in sides):
        return None
    rows = [_row(claim, gathered, side, rule) for side in sides]
    numbers = [
        _said(gathered, side["group"], row, claim.published or "best")
        for side, row in zip(sides, rows)
    ]
    said = None
    if claim.measures == ACCURACIES or claim.published:
        said = None if None in numbers else numbers[0] - (numbers[1] if under else 0.0)
        if len(sides) == 2 and rows[0].label == rows[1].label and over["group"] == under["group"]:
            said = None  # one number of the slides for both: two readings of the same row
    if claim.tolerance is not None and said is None:
        raise StudyError(
            f"claims.yaml: claim {claim.key}: tolerance needs the slides' numbers; {[s['row'] for s in sides]} have "
            "none"
        )
    part = (" / " if claim.ratio else " − ").join(display_label(row) for row in rows)
    follows = any(
        "method" not in side and row.method in GREEDY_VARIANTS for side, row in zip(sides, rows)
    )
    return Comparison(
        claim, part, rule if follows else None, rows[0], rows[1] if under else None, said
    )


def _row(claim: Claim, gathered: StudyRecords, side: dict, rule: str) -> Row:
    method = side.get("method", rule)
    row = row_of(gathered.study.groups[side["group"]], side["row"], method)
    if row is None or row.method != side.get("method", row.method):
        raise StudyError(
            f"claims.yaml: claim {claim.key}: {side['group']} has no row {side['row']!r} under {method}"
        )
    return row


def _said(gathered: StudyRecords, group: str, row: Row, key: str) -> float | None:
    """The slides' number of a row; of a group that gives changes from its first row, the change."""
    numbers = gathered.slide_numbers(gathered.study.groups[group], row)
    changes = any("best_difference" in n for n in gathered.slides.get(group, {}).values())
    if key == "best" and changes:
        first = row.label == gathered.study.groups[group].rows[0].label
        return 0.0 if first else numbers.get("best_difference")
    return numbers.get(key)


def evaluate_comparison(
    c: Comparison, gathered: StudyRecords, measure: str, budget: str
) -> Verdict:
    """One verdict, from one statistic a seed."""
    samples, statistic = _statistic(c, gathered, measure, budget)
    if statistic is None:
        return Verdict(c, measure, budget, INCONCLUSIVE, "no such number", None, None, None, None)
    step = resolution(measure, gathered.runs_of(c.over)[0])
    e = paired_tests.estimate(statistic, 0.0 if c.claim.ratio else step, exact=measure in EXACT)
    low, high = c.claim.bounds
    floor = paired_tests.seed_floor(samples)
    if c.claim.needs and c.claim.needs not in gathered.study.about.bears:
        able = [
            s.name for s in scales(gathered.study.directory).values() if c.claim.needs in s.bears
        ]
        reason = f"needs scale {' or '.join(able)}"
        return Verdict(c, measure, budget, INCONCLUSIVE, reason, e, floor, None, None)
    verdict, reason, needed = paired_tests.decide(e, low, high), "", None
    bound = paired_tests.nearest_bound(e, low, high)
    if verdict == INCONCLUSIVE:
        reason = "one seed" if e.seeds == 1 else ""
        needed = paired_tests.seeds_needed(e, bound)
    return Verdict(
        c, measure, budget, verdict, reason, e, floor, paired_tests.p_value(e, bound), needed
    )


def _statistic(
    c: Comparison, gathered: StudyRecords, measure: str, budget: str
) -> tuple[list[list[float]], list[float] | None]:
    """([each row's numbers], statistic a seed); the statistic is None where a run lacks the number."""
    over, under = (
        gathered.runs_of(c.over),
        gathered.runs_of(c.under) if c.under is not None else None,
    )
    got: tuple[list, list] = ([], [])
    for at, r in enumerate(over):
        runs = [r] if under is None else [r, under[at]]
        limit = min(BUDGETS[budget](run)[-1] for run in runs) if budget != "epochs" else math.inf
        for side, run in zip(got, runs):
            side.append(MEASURES[measure](run, within(run, budget, limit), gathered))
    samples = [side for side in got if side]
    if any(v is None for side in samples for v in side):
        return samples, None
    if under is None:
        return samples, [v - c.target for v in got[0]]
    if c.claim.ratio:
        return [], None if 0 in got[1] else [a / b for a, b in zip(*got)]
    return samples, [a - b - c.target for a, b in zip(*got)]


def verdicts(gathered: StudyRecords, claims: list[Claim] | None = None) -> list[Verdict]:
    """Every verdict of every claim the study can speak of, with Holm's correction within each measure and budget."""
    found = [
        evaluate_comparison(c, gathered, measure, budget)
        for claim in (load(gathered.study.directory / "claims.yaml") if claims is None else claims)
        for c in comparisons(claim, gathered)
        for budget in claim.budgets
        for measure in claim.measures
    ]
    for family in {(v.measure, v.budget) for v in found}:
        at = [i for i, v in enumerate(found) if (v.measure, v.budget) == family]
        for i, p in zip(at, paired_tests.holm([found[i].p for i in at])):
            found[i] = replace(found[i], p_holm=p)
    return found


def combined_verdict(parts: list[str]) -> str:
    """Verdict of a claim with several comparisons: it holds if all do, fails if one does."""
    if NOT_REPRODUCED in parts:
        return NOT_REPRODUCED
    return REPRODUCED if parts and set(parts) == {REPRODUCED} else INCONCLUSIVE
