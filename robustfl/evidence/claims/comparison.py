"""From a claim to its comparisons: pairs of rows, or a row and the slides' number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from robustfl.evidence.claims.claim import Claim, Side, Statistic, further_sides, load, sides_of
from robustfl.evidence.tables import GREEDY_VARIANTS, StudyRecords, display_label
from robustfl.study import experiments
from robustfl.study.experiments import Group, Row, Study, StudyError, read_yaml

BEST = "best_top1"  # the measure of the slides' accuracies
FULL = "full"  # the scale that shortens nothing
MOST_PRIMARY = 12  # comparisons that are corrected together
SIGNS = {  # between the rows of a comparison
    Statistic.DIFFERENCE: " − ",
    Statistic.DISTANCE: " − ",
    Statistic.RATIO: " / ",
    Statistic.ORDER: " > ",
}


@dataclass(frozen=True)
class Comparison:
    """The rows of one comparison, read under one greedy rule.

    They are two to compare, one to hold against the slides' number, or all of an order.
    """

    claim: Claim
    part: str
    rule: str | None  # None where no row depends on the rule
    rows: tuple[Row, ...]
    published: float | None  # the slides' value of the statistic
    random: Row | None = None  # the random subset of the same size
    measured_on: tuple[tuple[str, Row], ...] = ()  # (precondition, row)

    @property
    def over(self) -> Row:
        """The row that the claim is about; of an order the best."""
        return self.rows[0]

    @property
    def target(self) -> float:
        """What is taken off the statistic before it is held against the bounds."""
        if self.claim.tolerance is None or self.published is None:
            return 0.0
        return self.published


def check(study: Study) -> None:
    """Hold every name in the study's claims.yaml against its experiments.yaml, before runs exist.

    All groups of the file count, also those that this study leaves out. Raises StudyError naming
    the claim and the group, row, measure, budget or rule that does not exist, a test that two
    claims have, and a primary family that is too large.
    """
    # one seed is enough for the names; few epochs can make one run of two rows, so all of them
    names = list(read_yaml(study.directory / "experiments.yaml")["groups"])
    known = experiments.scales(study.directory)
    scale = FULL if FULL in known else study.scale
    whole = experiments.load(scale, {"groups": names, "seeds": [study.seeds[0]]}, study.directory)
    tests: dict[tuple, str] = {}
    primary = set()
    for claim in load(study.directory / "claims.yaml"):
        for sides in sides_of(claim):
            everything = [*sides, *further_sides(claim, sides[0]).values()]
            for side in everything:
                if side.group not in whole.groups:
                    raise StudyError(
                        f"claims.yaml: claim {claim.key}: group must be among {', '.join(names)}; "
                        f"got {side.group!r}"
                    )
            for rule in claim.rules:
                for side in everything:
                    _row(claim, whole.groups[side.group], side, rule)
                rows = tuple(_row(claim, whole.groups[s.group], s, rule) for s in sides)
                _enter_tests(claim, rows, tests)
                if claim.primary:
                    primary.add(rows)
    if len(primary) > MOST_PRIMARY:
        raise StudyError(
            f"claims.yaml: primary claims must have at most {MOST_PRIMARY} comparisons, since they "
            f"are corrected together; they have {len(primary)}"
        )


def _enter_tests(claim: Claim, rows: tuple[Row, ...], tests: dict[tuple, str]) -> None:
    """Enter what the claim tests. Raises StudyError for a test that another claim has already."""
    runs = tuple(row.names for row in rows)
    for measure, budget in product(claim.measures, claim.budgets):
        test = (claim.statistic, runs, claim.bounds, measure, budget)
        other = tests.setdefault(test, claim.key)
        if other != claim.key:
            raise StudyError(
                f"claims.yaml: claim {claim.key}: its tests must be its own; {other} has the one "
                f"of {measure} over {' and '.join(row.label for row in rows)} too"
            )


def comparisons(claim: Claim, gathered: StudyRecords) -> list[Comparison]:
    """A claim's comparisons among the study's groups; none where a group is not part of the study.

    Raises StudyError for a row that its group does not have.
    """
    # by their rows: what does not depend on the rule is compared once, under the first rule
    distinct: dict[tuple, Comparison] = {}
    groups = gathered.study.groups
    for sides in sides_of(claim):
        if any(side.group not in groups for side in sides):
            continue
        for rule in claim.rules:
            # where runs are missing, a row may be; elsewhere it is a misspelt one
            found = [side.find(groups[side.group], rule) for side in sides]
            if None in found and not gathered.whole:
                continue
            comparison = _comparison(claim, gathered, sides, rule)
            distinct.setdefault(comparison.rows, comparison)
    return list(distinct.values())


def _comparison(
    claim: Claim, gathered: StudyRecords, sides: tuple[Side, ...], rule: str
) -> Comparison:
    """One comparison, of rows that all exist under the rule."""
    groups = gathered.study.groups
    rows = tuple(_row(claim, groups[side.group], side, rule) for side in sides)
    published = _published(claim, gathered, sides, rows)
    if claim.tolerance is not None and published is None:
        raise StudyError(
            f"claims.yaml: claim {claim.key}: tolerance needs the slides' numbers; "
            f"{[side.row for side in sides]} have none"
        )

    # a side with a selector of its own is the same under either rule, and so is a row without one
    depends = any(
        side.method is None and row.method in GREEDY_VARIANTS for side, row in zip(sides, rows)
    )

    # a group that the study leaves out has no random row, and no row to measure a precondition on
    further = {
        name: row
        for name, side in further_sides(claim, sides[0]).items()
        if side.group in groups and (row := side.find(groups[side.group], rule)) is not None
    }
    return Comparison(
        claim,
        part=SIGNS[claim.statistic].join(display_label(row) for row in rows),
        rule=rule if depends else None,
        rows=rows,
        published=published,
        random=further.pop("random", None),
        measured_on=tuple(further.items()),
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
    claim: Claim, gathered: StudyRecords, sides: Sequence[Side], rows: Sequence[Row]
) -> float | None:
    """The slides' value of the statistic; None where they have none."""
    # an order is one number, which the slides do not give
    if claim.statistic is Statistic.ORDER:
        return None
    # the slides' `best` is an accuracy: it stands beside no other measure
    if BEST not in claim.measures and claim.published is None:
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
    # ablations: the slides give changes from the first row, whose own change is 0
    if key == "best" and changes:
        first = row.label == gathered.study.groups[group].rows[0].label
        return 0.0 if first else numbers.get("best_difference")
    return numbers.get(key)
