"""From a claim to its comparisons: pairs of rows, or a row and the slides' number."""

from __future__ import annotations

from dataclasses import dataclass

from robustfl.evidence.claims.claim import Claim, Side, load, sides_of
from robustfl.evidence.claims.measures import ACCURACIES
from robustfl.evidence.tables import GREEDY_VARIANTS, StudyRecords, display_label
from robustfl.study import experiments
from robustfl.study.experiments import Group, Row, Study, StudyError, read_yaml


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


def check(study: Study) -> None:
    """Hold every name in the study's claims.yaml against its experiments.yaml, before runs exist.

    All groups of the file count, also those that this study leaves out. Raises StudyError naming
    the claim and the group, row, measure, budget or rule that does not exist.
    """
    # one seed is enough for the names, and the smallest study that has all groups
    names = list(read_yaml(study.directory / "experiments.yaml")["groups"])
    whole = experiments.load(
        study.scale, {"groups": names, "seeds": [study.seeds[0]]}, study.directory
    )
    for claim in load(study.directory / "claims.yaml"):
        for side in (side for pair in sides_of(claim) for side in pair if side is not None):
            if side.group not in whole.groups:
                raise StudyError(
                    f"claims.yaml: claim {claim.key}: group must be among {', '.join(names)}; "
                    f"got {side.group!r}"
                )
            for rule in claim.rules:
                _row(claim, whole.groups[side.group], side, rule)


def comparisons(claim: Claim, gathered: StudyRecords) -> list[Comparison]:
    """A claim's comparisons among the study's groups; none where a group is not part of the study.

    Raises StudyError for a row that its group does not have.
    """
    # by their rows: what does not depend on the rule is compared once, under the first rule
    distinct: dict[tuple, Comparison] = {}
    groups = gathered.study.groups
    for over, under in sides_of(claim):
        if over.group not in groups or (under is not None and under.group not in groups):
            continue
        for rule in claim.rules:
            comparison = _comparison(claim, gathered, over, under, rule)
            distinct.setdefault((comparison.over, comparison.under), comparison)
    return list(distinct.values())


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

    # a side with a selector of its own is the same under either rule, and so is a row without one
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
    # the slides' `best` is an accuracy: it stands beside no other measure
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
    # ablations: the slides give changes from the first row, whose own change is 0
    if key == "best" and changes:
        first = row.label == gathered.study.groups[group].rows[0].label
        return 0.0 if first else numbers.get("best_difference")
    return numbers.get(key)
