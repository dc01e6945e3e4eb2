"""The verdicts as files and as the report's tables.

First one line per claim, then one per comparison with links to its runs.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pandas as pd

from robustfl.evidence import paired_tests
from robustfl.evidence.claims import Claim, Comparison, Verdict, Why, combined_verdict
from robustfl.evidence.claims.measures import ACCURACIES, MEASURES
from robustfl.evidence.paired_tests import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED
from robustfl.evidence.report.wording import with_sign
from robustfl.evidence.tables import GREEDY_VARIANTS, StudyRecords
from robustfl.files import write_atomically
from robustfl.study.experiments import Row
from robustfl.study.run_names import without_seed

MARKS = {REPRODUCED: "+", NOT_REPRODUCED: "−", INCONCLUSIVE: "?"}
EQUAL = {
    "epochs": "epochs",
    "backwards": "backward passes",
    "passes": "all passes",
    "seconds": "seconds",
}


def number(c: Comparison, measure: str, value: float | None) -> str:
    """A statistic in the report's units.

    Points with a sign, a row's own value without, a factor for a ratio.
    """
    if value is None:
        return ""
    if c.claim.ratio:
        return f"{value:.2f}×"
    share = MEASURES[measure].share
    if c.under is None:
        return f"{100 * value:.1f}" if share else f"{value:.2f}"
    return with_sign(100 * value, 1) if share else with_sign(value)


def spread(v: Verdict) -> str:
    """`+1.96 [+0.40, +3.52]`; the statistic as it is, not its distance from a target."""
    if v.estimate is None:
        return "none"
    e = v.estimate
    c = v.comparison
    text = number(c, v.measure, e.mean + c.target)
    if e.low is None or e.high is None or e.low == e.high:
        return text
    low = number(c, v.measure, e.low + c.target)
    high = number(c, v.measure, e.high + c.target)
    return f"{text} [{low}, {high}]"


def frame(verdicts: list[Verdict]) -> pd.DataFrame:
    """One line per verdict.

    Where the claim has a tolerance, value is the statistic's distance from the slides' value.
    """
    lines = []
    for v in verdicts:
        c = v.comparison
        e = v.estimate
        low, high = c.claim.bounds
        lines.append(
            {
                "claim": c.claim.key,
                "says": c.claim.says,
                "slide": c.claim.slide,
                "comparison": c.part,
                "rule": "" if c.rule is None else GREEDY_VARIANTS[c.rule],
                "measure": v.measure,
                "equal": v.budget,
                "slides": c.published,
                "statistic": kind(c.claim),
                "value": e and e.mean,
                "low": e and e.low,
                "high": e and e.high,
                "claimed_above": low,
                "claimed_below": high,
                "seeds": e and e.seeds,
                "seed_noise_floor": v.floor,
                "verdict": v.verdict,
                "reason": v.reason,
                "p": v.p,
                "p_holm": v.p_holm,
                "seeds_needed": v.needed,
                "runs_over": " ".join(c.over.names),
                "runs_under": " ".join(c.under.names) if c.under else "",
            }
        )
    return pd.DataFrame(lines)


def kind(claim: Claim) -> str:
    """What the statistic of a claim is."""
    if claim.ratio:
        return "ratio"
    return "difference" if claim.tolerance is None else "distance from slides"


def write(verdicts: list[Verdict], gathered: StudyRecords, folder: Path) -> None:
    """verdicts.csv, and verdicts.md, which links to the records: packed files or metrics.json."""
    write_atomically(
        folder / "verdicts.csv",
        frame(verdicts).to_csv(index=False, float_format="%.6g", lineterminator="\n"),
    )
    write_atomically(folder / "verdicts.md", markdown(verdicts, gathered))


def markdown(verdicts: list[Verdict], gathered: StudyRecords) -> str:
    """The text of verdicts.md. Its links lead from {results}/{scale}/tables to the records."""
    lines = ["# Verdicts", "", *sentences(verdicts), ""]
    if not verdicts:
        return "\n".join(lines)
    columns = ["claim", "comparison", "equal", "measure", "slides", "ours [95 % interval]"]
    columns += ["verdict", "seeds needed", "runs"]
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for v in verdicts:
        c = v.comparison
        cells = [
            c.claim.says,
            c.part,
            EQUAL[v.budget],
            MEASURES[v.measure].name,
            number(c, v.measure, c.published),
            spread(v),
            f"**{v.verdict}**" + (f" ({v.reason})" if v.reason else ""),
            needed(v),
            " − ".join(_linked(row, gathered) for row in sides(c)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def sides(c: Comparison) -> list[Row]:
    """The row or the two rows of a comparison."""
    return [c.over] if c.under is None else [c.over, c.under]


def _linked(row: Row, gathered: StudyRecords) -> str:
    tables = gathered.folder / "tables"
    return " ".join(
        f"[{r.spec.seed}]({os.path.relpath(r.file, tables)})" for r in gathered.runs_of(row)
    )


def needed(v: Verdict) -> str:
    """Seeds that would decide it; empty for a decided verdict."""
    if v.needed is None:
        return ""
    most = paired_tests.MOST_SEEDS
    return f">{most - 1}" if v.needed >= most else str(v.needed)


def sentences(verdicts: list[Verdict]) -> list[str]:
    """How many comparisons are decided, before and after correction for their number."""
    if not verdicts:
        return ["No claim speaks of these groups."]
    main = [v for v in verdicts if v.measure == "best_top1" and v.budget == "epochs"]
    counts = Counter(v.verdict for v in main)
    seeds = max(v.estimate.seeds for v in verdicts if v.estimate is not None)
    text = [
        f"Of {len(main)} comparisons of best accuracy at equal epochs, {counts[REPRODUCED]} are "
        f"reproduced, {counts[NOT_REPRODUCED]} are not and {counts[INCONCLUSIVE]} are "
        f"inconclusive, on {seeds} seed{'s' * (seeds > 1)}."
    ]

    # what the correction for many tests leaves
    corrected = [(v.verdict, v.p_holm) for v in main if v.p_holm is not None]
    if corrected:
        kept = sum(
            verdict != INCONCLUSIVE and p < 1 - paired_tests.LEVEL for verdict, p in corrected
        )
        text.append(
            "Each interval is at 95 % for itself: about one in twenty that have nothing to show "
            f"decides all the same. Corrected for all {len(corrected)} tests of this kind (Holm), "
            f"{kept} stay decided."
        )
    if seeds == 1:
        text.append(
            "With one seed nothing that varies with the seed can be decided; only counts that "
            "follow from the protocol are."
        )
    return text


def by_claim(verdicts: list[Verdict]) -> dict[Claim, list[Verdict]]:
    """The verdicts of each claim, in their order."""
    of_claim: dict[Claim, list[Verdict]] = {}
    for v in verdicts:
        of_claim.setdefault(v.comparison.claim, []).append(v)
    return of_claim


def summary(verdicts: list[Verdict]) -> dict[str, list[dict]]:
    """Lines of the two opening tables.

    `accuracy` has the claims on accuracy (best, last, held-out marks), `other` all others (one
    mark). A claim with several comparisons is reproduced under a rule if all of them are, not
    reproduced if one is not.
    """
    tables: dict[str, list[dict]] = {"accuracy": [], "other": []}
    for claim, judged in by_claim(verdicts).items():
        # accuracies share a line, with a mark for each; any other measure has its own
        accurate = set(claim.measures) <= set(ACCURACIES)
        for budget in claim.budgets:
            for measures in [claim.measures] if accurate else [(m,) for m in claim.measures]:
                shown = [v for v in judged if v.budget == budget and v.measure in measures]
                line = _summary_line(claim, budget, measures, shown)
                tables["accuracy" if accurate else "other"].append(line)
    return tables


def _summary_line(claim: Claim, budget: str, measures: tuple, verdicts: list[Verdict]) -> dict:
    first = measures[0]
    # comparisons that have different numbers of the slides leave the line without one
    published = {
        number(v.comparison, first, v.comparison.published) for v in verdicts if v.measure == first
    }
    return {
        "key": claim.key,
        "says": claim.says,
        "slide": claim.slide,
        "equal": EQUAL[budget],
        "measure": MEASURES[first].name,
        "slides": published.pop() if len(published) == 1 else "",
        "rules": [_reading(verdicts, rule, measures) for rule in GREEDY_VARIANTS],
    }


def headlines(verdicts: list[Verdict]) -> list[dict]:
    """One sentence per headline claim, by its first measure and budget.

    It says what is claimed, and what each rule's runs say of it.
    """
    lines = []
    for claim, judged in by_claim(verdicts).items():
        if not claim.headline:
            continue
        measure, budget = claim.measures[0], claim.budgets[0]
        main = [v for v in judged if (v.measure, v.budget) == (measure, budget)]
        words = []
        for rule, name in GREEDY_VARIANTS.items():
            reading = _reading(main, rule, (measure,))
            if reading is not None:
                verdict = combined_verdict([v.verdict for v in _under(main, rule)])
                subject = "" if _is_rule_free(main) else f"{name} rule "
                words.append(f"{subject}{verdict} ({reading['text']})")
        lines.append({"key": claim.key, "says": claim.says, "found": "; ".join(words)})
    return lines


def _is_rule_free(verdicts: list[Verdict]) -> bool:
    """Whether no comparison depends on the greedy rule."""
    return all(v.comparison.rule is None for v in verdicts)


def _under(verdicts: list[Verdict], rule: str) -> list[Verdict]:
    """The verdicts under a rule, those that depend on none among them."""
    return [v for v in verdicts if v.comparison.rule in (rule, None)]


def _reading(verdicts: list[Verdict], rule: str, measures: tuple) -> dict | None:
    """What a line says under one rule.

    None where no comparison depends on the rule and the first rule's cell says the same.
    """
    if _is_rule_free(verdicts) and rule != next(iter(GREEDY_VARIANTS)):
        return None
    judged = _under(verdicts, rule)
    marks = {
        m: MARKS[combined_verdict([v.verdict for v in judged if v.measure == m])] for m in measures
    }
    order = ACCURACIES if set(measures) <= set(ACCURACIES) else measures
    return {
        "text": _reading_text([v for v in judged if v.measure == measures[0]]),
        "marks": [marks.get(m, "") for m in order],
    }


def _reading_text(verdicts: list[Verdict]) -> str:
    """The number of one verdict; of several, how many lie as claimed, or why none can be judged."""
    if len(verdicts) == 1:
        return spread(verdicts[0])
    if all(v.why in (Why.NO_NUMBER, Why.OTHER_SCALE) for v in verdicts):
        return verdicts[0].reason
    low, high = verdicts[0].comparison.claim.bounds
    holds = sum(v.estimate is not None and low < v.estimate.mean < high for v in verdicts)
    return f"{holds} of {len(verdicts)} as claimed"


def details(verdicts: list[Verdict], gathered: StudyRecords) -> list[dict]:
    """One entry per claim, in it one line per comparison, budget and measure.

    The accuracies share a line. Runs are numbered as content.run_list counts them.
    """
    numbers = {
        name: i for i, name in enumerate(dict.fromkeys(map(without_seed, gathered.study.specs)), 1)
    }
    entries = []
    for claim, judged in by_claim(verdicts).items():
        lines: dict[tuple, list[Verdict]] = {}
        for v in judged:
            measure = "" if v.measure in ACCURACIES else v.measure
            lines.setdefault((v.comparison, v.budget, measure), []).append(v)
        entries.append(
            {
                "key": claim.key,
                "says": claim.says,
                "slide": claim.slide,
                "bounds": bounds(claim),
                "accuracy": set(claim.measures) <= set(ACCURACIES),
                "lines": [_detail(line, numbers) for line in lines.values()],
            }
        )
    return entries


def _detail(verdicts: list[Verdict], numbers: dict[str, int]) -> dict:
    """One line: verdicts of one comparison and budget, of the accuracies or of one measure."""
    first = verdicts[0]
    c = first.comparison
    measure = MEASURES[first.measure]
    cells: list[dict | None] = [
        {"text": spread(v), "mark": MARKS[v.verdict], "reason": v.reason} for v in verdicts
    ]
    # a claim on one accuracy leaves the columns of the others empty
    if measure.key in ACCURACIES:
        cells += [None] * (len(ACCURACIES) - len(cells))
    shown = 100 if measure.share else 1
    return {
        "part": c.part,
        "measure": measure.name,
        "equal": EQUAL[first.budget],
        "slides": number(c, measure.key, c.published),
        "cells": cells,
        "floor": "" if first.floor is None else f"{first.floor * shown:.2f}",
        "needed": needed(first),
        "runs": [numbers[without_seed(row.names[0])] for row in sides(c)],
    }


def bounds(claim: Claim) -> str:
    """What the statistic is claimed to be, in words."""
    if claim.tolerance is not None:
        share = MEASURES[claim.measures[0]].share
        shown = 100 * claim.tolerance if share else claim.tolerance
        return f"within {shown:g} points of the slides' value"
    low, high = claim.bounds
    parts = [
        f"above {low:g}" if low > float("-inf") else "",
        f"below {high:g}" if high < float("inf") else "",
    ]
    return " and ".join(p for p in parts if p).replace("-", "−")
