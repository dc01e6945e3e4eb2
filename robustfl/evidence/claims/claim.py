"""One entry of claims.yaml as a value, and the file as a list of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from robustfl.evidence.claims.measures import ACCURACIES, BUDGETS, MEASURES
from robustfl.evidence.claims.preconditions import PRECONDITIONS
from robustfl.evidence.tables import GREEDY_VARIANTS, row_of, row_under
from robustfl.study.experiments import CONFIG_DIR, Group, Row, StudyError, read_yaml

OVER = "over"  # a precondition that is measured on the claim's own row


class Statistic(Enum):
    """What is computed per seed; the values are how verdicts.csv names it."""

    DIFFERENCE = "difference"
    DISTANCE = "distance from slides"  # of a difference, or of a row's own number
    RATIO = "ratio"
    ORDER = "Kendall's tau"


@dataclass(frozen=True, eq=False)
class Claim:
    """One entry of claims.yaml; workflow/schemas/claims.schema.yaml checks its form.

    The statistic is over - under, over / under with `ratio`, Kendall's tau of an `order`, or a
    row's own number; it is claimed to lie within `bounds`.
    """

    key: str
    says: str
    slide: str
    short: str = ""  # the same in a few words, for a sentence about several; of primary claims
    group: str | None = None
    order: tuple = ()  # rows, best first: one statistic per seed
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
    primary: bool = False  # answered on page 1 by its first measure; corrected with its like
    fact: bool = False  # true by construction: shown, not judged
    needs: dict = field(default_factory=dict)  # precondition -> side it is measured on, or OVER
    random: dict | None = None  # the random subset of the same size, a side as `under`

    @property
    def statistic(self) -> Statistic:
        """What is computed per seed."""
        if self.order:
            return Statistic.ORDER
        if self.ratio:
            return Statistic.RATIO
        return Statistic.DIFFERENCE if self.tolerance is None else Statistic.DISTANCE

    @property
    def bounds(self) -> tuple[float, float]:
        """(low, high) the statistic is claimed to lie in; above 0 where the entry has no bound."""
        if self.tolerance is not None:
            return -self.tolerance, self.tolerance
        # the plain claim, that one row is better than another
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


def load(path: Path | str = CONFIG_DIR / "claims.yaml") -> list[Claim]:
    """The claims in the file's order.

    Raises StudyError for an unknown key and for a measure, budget, rule or precondition that does
    not exist.
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

        if claim.primary and not claim.short:
            raise StudyError(f"claims.yaml: claim {key}: a primary claim must be `short` too")

        # what is misspelt here would be a claim that nothing ever tests
        for field_, names, registry in (
            ("measures", claim.measures, MEASURES),
            ("budgets", claim.budgets, BUDGETS),
            ("rules", claim.rules, GREEDY_VARIANTS),
            ("needs", claim.needs, PRECONDITIONS),
        ):
            for name in names:
                if name not in registry:
                    raise StudyError(
                        f"claims.yaml: claim {key}: {field_} must be among {', '.join(registry)}; "
                        f"got {name!r}"
                    )
        claims.append(claim)
    return claims


def sides_of(claim: Claim) -> list[tuple[Side, ...]]:
    """The sides of each comparison.

    They are (over, under), (over,) for a claim about the slides' number, and all rows of an order.
    """
    # two sides written out; an under without a row is the same row in another group
    if claim.over is not None:
        rows = claim.over["row"] if isinstance(claim.over["row"], list) else [claim.over["row"]]
        under = claim.under or {}
        return [(Side(**claim.over | {"row": row}), Side(**{"row": row} | under)) for row in rows]

    group = claim.group or ""
    if claim.order:
        return [tuple(Side(group, row) for row in claim.order)]
    if claim.rows:
        return [(Side(group, row),) for row in claim.rows]
    return [(Side(group, over), Side(group, under)) for over, under in claim.compare]


def further_sides(claim: Claim, over: Side) -> dict[str, Side]:
    """What else a comparison looks at: the random subset, and where preconditions are measured.

    By name: `random`, and each key of `needs`. over: the comparison's own first side.
    """
    named = {"random": {"row": over.row} | claim.random} if claim.random else {}
    sides = {name: Side(**side) for name, side in named.items()}
    return sides | {
        name: over if side == OVER else Side(**side) for name, side in claim.needs.items()
    }
