"""The verdicts as files and as the report's tables.

Page 1 has the primary comparisons, the table behind them one line per claim and rule; verdicts.csv
and verdicts.md have every comparison, with links to its runs.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pandas as pd

from robustfl.evidence.claims import (
    Claim,
    Comparison,
    Outcome,
    Statistic,
    Verdict,
    slides_value,
)
from robustfl.evidence.claims.measures import MEASURES
from robustfl.evidence.claims.verdict import FIRST_BUDGET, combined_outcome
from robustfl.evidence.paired_tests import Estimate
from robustfl.evidence.report.wording import join_with_and, with_sign
from robustfl.evidence.tables import GREEDY_VARIANTS, StudyRecords
from robustfl.files import write_atomically
from robustfl.study.experiments import Row

EQUAL = {"epochs": "epochs", "backwards": "backward passes", "passes": "all passes"}
NO_RULE = ""  # of a comparison that does not depend on the greedy rule


# numbers in words


def number(c: Comparison, measure: str, value: float | None) -> str:
    """A statistic in the report's units.

    Points and tau with a sign, a row's own value without, a factor for a ratio.
    """
    if value is None:
        return ""
    if c.claim.statistic is Statistic.RATIO:
        return f"{value:.2f}×"
    share = MEASURES[measure].share and c.claim.statistic is not Statistic.ORDER
    if len(c.rows) == 1:
        return f"{100 * value:.1f}" if share else f"{value:.2f}"
    return with_sign(100 * value, 1) if share else with_sign(value)


def interval(c: Comparison, measure: str, e: Estimate | None) -> str:
    """`+1.96 [+0.40, +3.52]`; the statistic as it is, not its distance from a target."""
    if e is None:
        return "none"
    text = number(c, measure, e.mean + c.target)
    if e.low is None or e.high is None or e.low == e.high:
        return text
    low = number(c, measure, e.low + c.target)
    high = number(c, measure, e.high + c.target)
    return f"{text} [{low}, {high}]"


def spread(v: Verdict) -> str:
    """The verdict's own statistic with its interval."""
    return interval(v.comparison, v.measure, v.estimate)


def over_random(v: Verdict) -> str:
    """The same against the random subset; empty where the claim names none."""
    return "" if v.random is None else interval(v.comparison, v.measure, v.random)


def outcome(v: Verdict) -> str:
    """The verdict in words: the sign, and beside it the size where the slides have one."""
    words = v.outcome.value
    if v.size is not None and v.outcome.holds:
        words = f"{words}, {v.size.value}"
    return f"{words} ({v.reason})" if v.reason else words


def found(v: Verdict) -> str:
    """What an undecided comparison could have found, in its own unit."""
    if v.detectable is None:
        return ""
    share = MEASURES[v.measure].share and v.comparison.claim.statistic is Statistic.DIFFERENCE
    return f"{100 * v.detectable:.1f}" if share else f"{v.detectable:.1f}"


# files


def frame(verdicts: list[Verdict]) -> pd.DataFrame:
    """One line per verdict; value is the statistic, or its distance where a tolerance is claimed.

    over_random is the same statistic against the random subset of the same size. runs: the names
    of each row's runs, rows apart by ` | `.
    """
    lines = []
    for v in verdicts:
        c, e, r = v.comparison, v.estimate, v.random
        low, high = c.claim.bounds
        lines.append(
            {
                "claim": c.claim.key,
                "says": c.claim.says,
                "slide": c.claim.slide,
                "family": "primary" if v.primary else "exploratory",
                "comparison": c.part,
                "rule": "" if c.rule is None else GREEDY_VARIANTS[c.rule],
                "measure": v.measure,
                "equal": v.budget,
                "slides": slides_value(v),
                "statistic": c.claim.statistic.value,
                "value": e and e.mean,
                "low": e and e.low,
                "high": e and e.high,
                "claimed_above": low,
                "claimed_below": high,
                "seeds": e and e.seeds,
                "outcome": v.outcome.value,
                "reason": v.reason,
                "size": v.size.value if v.size else "",
                "p": v.p,
                "p_holm": v.p_holm,
                "detectable": v.detectable,
                "over_random": r and r.mean,
                "over_random_low": r and r.low,
                "over_random_high": r and r.high,
                "runs": " | ".join(" ".join(row.names) for row in c.rows),
            }
        )
    return pd.DataFrame(lines)


def write(verdicts: list[Verdict], gathered: StudyRecords, folder: Path) -> None:
    """verdicts.csv, and verdicts.md, which links to the records: packed files or metrics.json."""
    write_atomically(folder / "verdicts.csv", csv_text(verdicts))
    write_atomically(folder / "verdicts.md", markdown(verdicts, gathered))


def csv_text(verdicts: list[Verdict]) -> str:
    """The text of verdicts.csv."""
    return frame(verdicts).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def markdown(verdicts: list[Verdict], gathered: StudyRecords) -> str:
    """The text of verdicts.md. Its links lead from {results}/{scale}/tables to the records."""
    lines = ["# Verdicts", "", *sentences(verdicts), ""]
    families = {"Primary": True, "Exploratory": False}
    for title, primary in families.items():
        members = [v for v in verdicts if v.primary is primary]
        if members:
            lines += [f"## {title}", "", *_markdown_table(members, gathered), ""]
    return "\n".join(lines)


def _markdown_table(verdicts: list[Verdict], gathered: StudyRecords) -> list[str]:
    columns = ["claim", "comparison", "equal", "measure", "slides", "ours [95 % interval]"]
    columns += ["over random", "verdict", "p (Holm)", "detectable", "runs"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for v in verdicts:
        c = v.comparison
        cells = [
            c.claim.says,
            c.part,
            EQUAL[v.budget],
            MEASURES[v.measure].name,
            number(c, v.measure, slides_value(v)),
            spread(v),
            over_random(v),
            f"**{v.outcome.value}**" + (f" ({v.reason})" if v.reason else ""),
            "" if v.p_holm is None else f"{v.p_holm:.2g}",
            found(v),
            " − ".join(_linked(row, gathered) for row in c.rows),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _linked(row: Row, gathered: StudyRecords) -> str:
    tables = gathered.folder / "tables"
    return " ".join(
        f"[{r.spec.seed}]({os.path.relpath(r.file, tables)})" for r in gathered.runs_of(row)
    )


# sentences


def sentences(verdicts: list[Verdict]) -> list[str]:
    """What the primary comparisons come to, and what these seeds could have found."""
    family = [v for v in verdicts if v.primary]
    if not family:
        return ["No primary claim speaks of these groups."]
    seeds = max(v.estimate.seeds for v in verdicts if v.estimate is not None)
    counts = Counter(v.outcome for v in family)
    parts = join_with_and([f"{n} {word.value}" for word, n in sorted_outcomes(counts)])
    text = [f"Of {len(family)} primary comparisons on {_count(seeds, 'seed')}: {parts}."]

    # what the runs could have told apart, before anybody reads the undecided ones
    undecided = [v.detectable for v in family if v.detectable is not None]
    if undecided:
        text.append(
            "An undecided one would have shown, four times in five, a true difference of "
            f"{_range(undecided)} points."
        )
    if any(v.p_holm is not None for v in family):
        text.append(
            "Primary comparisons are corrected together (Holm); all other verdicts are "
            "exploratory, each at 95 % for itself."
        )
    if seeds == 1:
        text.append("With one seed nothing that varies with the seed can be decided.")
    return text


def _range(numbers: list[float]) -> str:
    low, high = f"{min(numbers):.1f}", f"{max(numbers):.1f}"
    return low if low == high else f"{low} to {high}"


def sorted_outcomes(counts: Counter) -> list[tuple[Outcome, int]]:
    """The outcomes that occur, in the order of the enum."""
    return [(word, counts[word]) for word in Outcome if counts[word]]


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def finding(v: Verdict, last: Verdict | None) -> str:
    """One primary comparison in a sentence: best, last, random, and what it comes to."""
    words = f"{v.comparison.part} is {spread(v)} by the best epoch"
    if last is not None and last.estimate is not None:
        words += f" and {spread(last)} by the last"
    if v.random is not None:
        words += f", {over_random(v)} over a random subset"
    return f"{words}: {outcome(v)}"


# the report's tables


def by_claim(verdicts: list[Verdict]) -> dict[Claim, list[Verdict]]:
    """The verdicts of each claim, in their order."""
    of_claim: dict[Claim, list[Verdict]] = {}
    for v in verdicts:
        of_claim.setdefault(v.comparison.claim, []).append(v)
    return of_claim


def last_epoch_of(verdicts: list[Verdict], v: Verdict) -> Verdict | None:
    """The verdict of the same comparison by the last epoch."""
    return next(
        (
            other
            for other in verdicts
            if other.comparison is v.comparison
            and (other.measure, other.budget) == ("last_top1", FIRST_BUDGET)
        ),
        None,
    )


def primary(verdicts: list[Verdict]) -> list[dict]:
    """Page 1: one line per primary comparison."""
    lines = []
    for v in (v for v in verdicts if v.primary):
        last = last_epoch_of(verdicts, v)
        c = v.comparison
        lines.append(
            {
                "key": c.claim.key,
                "says": c.claim.says,
                "part": c.part,
                "slides": number(c, v.measure, slides_value(v)),
                "best": spread(v),
                "last": "" if last is None else spread(last),
                "over_random": over_random(v),
                "p_holm": "" if v.p_holm is None else f"{v.p_holm:.2g}",
                "outcome": v.outcome.value,
                "mark": mark(v.outcome),
                "size": v.size.value if v.size and v.outcome.holds else "",
                "reason": v.reason,
                "found": found(v),
                "sentence": finding(v, last),
            }
        )
    return lines


def mark(word: Outcome) -> str:
    """+ it holds, − it does not, = there is next to no difference, ? undecided; else empty."""
    if word.holds or word is Outcome.FACT:
        return "+"
    signs = {
        Outcome.NOT_REPRODUCED: "−",
        Outcome.UNTRUE: "−",
        Outcome.NO_DIFFERENCE: "=",
        Outcome.UNDECIDED: "?",
    }
    return signs.get(word, "")


def exploratory(verdicts: list[Verdict]) -> list[dict]:
    """One line per other claim, measure and budget, with a cell under each rule.

    Claims of which nothing is testable stand once, with the reason.
    """
    lines = []
    for claim, judged in by_claim(verdicts).items():
        if claim.fact:
            continue
        for measure in claim.measures:
            for budget in claim.budgets:
                shown = [v for v in judged if (v.measure, v.budget) == (measure, budget)]
                if not shown or shown[0].primary:
                    continue
                lines.append(_line(claim, measure, budget, shown))
    return lines


def facts(verdicts: list[Verdict]) -> list[dict]:
    """What is true by construction: one line per claim, with its range over the comparisons."""
    lines = []
    for claim, judged in by_claim(verdicts).items():
        values = [v.estimate.mean for v in judged if v.estimate is not None]
        if claim.fact and values:
            c, measure = judged[0].comparison, judged[0].measure
            low, high = (number(c, measure, value) for value in (min(values), max(values)))
            lines.append(
                {
                    "says": claim.says,
                    "measure": MEASURES[measure].name,
                    "value": low if low == high else f"{low} to {high}",
                }
            )
    return lines


def _line(claim: Claim, measure: str, budget: str, verdicts: list[Verdict]) -> dict:
    reasons = {v.reason for v in verdicts if v.outcome is Outcome.NOT_TESTABLE}
    untestable = all(v.outcome is Outcome.NOT_TESTABLE for v in verdicts)
    return {
        "key": claim.key,
        "says": claim.says,
        "slide": claim.slide,
        "equal": EQUAL[budget],
        "measure": MEASURES[measure].name,
        "slides": _common_number(verdicts, measure),
        "testable": not untestable,
        "reason": "; ".join(sorted(reasons)) if untestable else "",
        "rules": [] if untestable else _readings(verdicts),
    }


def _common_number(verdicts: list[Verdict], measure: str) -> str:
    """The slides' number, where all comparisons of the line have the same one."""
    numbers = {number(v.comparison, measure, slides_value(v)) for v in verdicts}
    return numbers.pop() if len(numbers) == 1 else ""


def _readings(verdicts: list[Verdict]) -> list[dict]:
    """What a line says: once where nothing depends on the greedy rule, else under each rule."""
    if all(v.comparison.rule is None for v in verdicts):
        return [_reading(NO_RULE, verdicts)]
    return [
        _reading(name, [v for v in verdicts if v.comparison.rule in (rule, None)])
        for rule, name in GREEDY_VARIANTS.items()
    ]


def _reading(rule: str, verdicts: list[Verdict]) -> dict:
    """The number of one verdict; of several, how many hold."""
    if len(verdicts) == 1:
        text = spread(verdicts[0])
    else:
        holds = sum(v.outcome.holds for v in verdicts)
        text = f"{holds} of {len(verdicts)} reproduced"
    word = combined_outcome([v.outcome for v in verdicts])
    return {"rule": rule, "text": text, "mark": mark(word), "outcome": word.value}
