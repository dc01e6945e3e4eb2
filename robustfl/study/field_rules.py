"""A field of a frozen dataclass that carries its own help and the values it takes.

The rule stands beside the default, and the check, its message and the comments of `robustfl show`
all come from it, as scikit-learn makes them from its parameter constraints.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

Value = TypeVar("Value")

KINDS: dict[str, tuple[type, str]] = {  # annotation of a field -> its type, and that type in words
    "int": (int, "an integer"),
    "float": (float, "a finite number"),
    "bool": (bool, "true or false"),
    "str": (str, "text"),
    "tuple": (tuple, "a list"),
}


class Each(NamedTuple):
    """What every entry of a list must be."""

    holds: Callable[[Any], bool]
    must: str  # as the message says it: "integers >= 1"


@dataclass(frozen=True)
class Rule:
    """What a field means and which values it takes; a bound that is None does not bind."""

    help: str
    least: float | None = None  # the value is at least this
    above: float | None = None  # the value is more than this
    most: float | None = None
    below: float | None = None
    one_of: tuple[str, ...] = ()
    each: Each | None = None
    of: str = ""  # the part of a run that the field belongs to, where code asks for that part
    hash_as: str = ""  # the field's first name, where it was renamed
    # first name of a value -> its name today
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def accepts(self, value: Any) -> bool:
        """Whether a value of the field's type is allowed."""
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
            and (not self.one_of or value in self.one_of)
            and (self.each is None or all(map(self.each.holds, value)))
        )

    def hashed(self, name: str, value: Any) -> tuple[str, Any]:
        """A field and its value under the names they had first, which records are hashed by."""
        first = {today: before for before, today in self.renamed.items()}
        return self.hash_as or name, first.get(value, value) if self.renamed else value

    def must(self, kind: str) -> str:
        """The rule in words, for a field of this annotation: `in (0, 1]`, `an integer >= 1`."""
        if self.one_of:
            return f"one of {', '.join(self.one_of)}"
        if self.each is not None:
            return self.each.must

        # an interval, or the one bound that there is
        low = self.least if self.above is None else self.above
        high = self.most if self.below is None else self.below
        if low is not None and high is not None:
            opening = "[" if self.above is None else "("
            closing = "]" if self.below is None else ")"
            return f"in {opening}{low:g}, {high:g}{closing}"
        sign = ">=" if self.above is None else ">"
        return f"{'an integer ' if kind == 'int' else ''}{sign} {low:g}"


def rule(default: Value, help: str, **rules: Any) -> Value:
    """A dataclass field with this default, help and the rules that `Rule` names.

    >>> @dataclass(frozen=True)
    ... class Training:
    ...     epochs: int = rule(120, "epochs of training", least=1)
    >>> broken(dataclasses.fields(Training)[0], 0)
    'an integer >= 1'
    """
    return dataclasses.field(default=default, metadata={"rule": Rule(help, **rules)})


def rule_of(field: dataclasses.Field) -> Rule:
    """The rule of a field that `rule` made."""
    return field.metadata["rule"]


def broken(field: dataclasses.Field, value: Any) -> str | None:
    """What the value must be and is not, in words; None for a value that the field takes."""
    # annotations are text here, since every module postpones their evaluation
    kind, words = KINDS[str(field.type)]
    # not isinstance: True is an int to Python, and no number of epochs
    infinite = isinstance(value, float) and not math.isfinite(value)
    if type(value) is not kind or infinite:
        return words
    return None if rule_of(field).accepts(value) else rule_of(field).must(str(field.type))
