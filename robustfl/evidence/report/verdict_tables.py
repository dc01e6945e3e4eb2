"""The verdicts as files and as the report's tables: one line a claim, then one a comparison with links to its runs."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pandas as pd

from robustfl.evidence import paired_tests
from robustfl.evidence.claims import Claim, Comparison, Verdict, combined_verdict
from robustfl.evidence.claims.measures import ACCURACIES
from robustfl.evidence.paired_tests import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED
from robustfl.evidence.report.wording import with_sign
from robustfl.evidence.tables import GREEDY_VARIANTS, StudyRecords
from robustfl.files import write_atomically
from robustfl.study.experiments import Row

MARKS = {REPRODUCED: "+", NOT_REPRODUCED: "−", INCONCLUSIVE: "?"}
EQUAL = {
    "epochs": "epochs",
    "backwards": "backward passes",
    "passes": "all passes",
    "seconds": "seconds",
}
SHARES = ("covered", "label_precision", "weighted_precision")
NAMES = {
    "early_train_acc": "early training accuracy",
    "early_test_top1": "early test accuracy",
    "generalisation_gap": "training minus test accuracy",
    "covered": "data covered",
    "label_precision": "true labels among picks",
    "weighted_precision": "weight on true labels",
    "backwards": "backward passes",
    "forwards": "forward passes",
    "seconds": "seconds",
    "energy": "energy",
    "backwards_with_pretraining": "backward passes, with pretraining",
    "seconds_with_pretraining": "seconds, with pretraining",
    "best_top1": "best",
    "last_top1": "last",
    "heldout_top1": "held-out",
}


def number(c: Comparison, measure: str, value: float | None) -> str:
    """A statistic in the report's units: points with a sign, a row's own value without, a factor for a ratio."""
    if value is None:
        return ""
    if c.claim.ratio:
        return f"{value:.2f}×"
    if c.under is None:
        return f"{100 * value:.1f}" if measure in SHARES else f"{value:.2f}"
    return with_sign(100 * value, 1) if measure in SHARES else with_sign(value)


def spread(v: Verdict) -> str:
    """`+1.96 [+0.40, +3.52]`; the statistic as it is, not its distance from a target."""
    if v.estimate is None:
        return "none"
    e, c = v.estimate, v.comparison
    text = number(c, v.measure, e.mean + c.target)
    if e.low is None or e.low == e.high:
        return text
    return f"{text} [{number(c, v.measure, e.low + c.target)}, {number(c, v.measure, e.high + c.target)}]"


def frame(verdicts: list[Verdict]) -> pd.DataFrame:
    """One line a verdict. difference: of the statistic from the slides' value where the claim has a tolerance."""
    lines = []
    for v in verdicts:
        c, e = v.comparison, v.estimate
        low, high = c.claim.bounds
        lines.append(
            {
                "claim": c.claim.key,
                "says": c.claim.says,
                "slide": c.claim.slide,
                "comparison": c.part,
                "rule": GREEDY_VARIANTS.get(c.rule, ""),
                "measure": v.measure,
                "equal": v.budget,
                "slides": c.said,
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
    return (
        "ratio"
        if claim.ratio
        else "distance from slides"
        if claim.tolerance is not None
        else "difference"
    )


def write(verdicts: list[Verdict], gathered: StudyRecords, folder: Path) -> None:
    """verdicts.csv, and verdicts.md, which links to the records: packed files or metrics.json."""
    write_atomically(
        folder / "verdicts.csv",
        frame(verdicts).to_csv(index=False, float_format="%.6g", lineterminator="\n"),
    )
    write_atomically(folder / "verdicts.md", markdown(verdicts, gathered))


def markdown(verdicts: list[Verdict], gathered: StudyRecords) -> str:
    """The text of verdicts.md. Its links lead from {results}/{scale}/tables to the records."""
    lines = ["# Verdicts", "", *said(verdicts), ""]
    if not verdicts:
        return "\n".join(lines)
    lines += [
        "| claim | comparison | equal | measure | slides | ours [95 % interval] | verdict | seeds needed | runs |"
    ]
    lines += ["|" + "---|" * 9]
    for v in verdicts:
        c = v.comparison
        cells = [
            c.claim.says,
            c.part,
            EQUAL[v.budget],
            NAMES[v.measure],
            number(c, v.measure, c.said),
            spread(v),
            f"**{v.verdict}**" + (f" ({v.reason})" if v.reason else ""),
            needed(v),
            " − ".join(_linked(row, gathered) for row in sides(c)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def sides(c: Comparison) -> list[Row]:
    return [c.over] if c.under is None else [c.over, c.under]


def _linked(row: Row, gathered: StudyRecords) -> str:
    tables = gathered.folder / "tables"
    return " ".join(
        f"[{r.spec.seed}]({os.path.relpath(r.file, tables)})" for r in gathered.runs_of(row)
    )


def needed(v: Verdict) -> str:
    if v.needed is None:
        return ""
    return (
        f">{paired_tests.MOST_SEEDS - 1}" if v.needed >= paired_tests.MOST_SEEDS else str(v.needed)
    )


def said(verdicts: list[Verdict]) -> list[str]:
    """Sentences on how many comparisons are decided, before and after correction for their number."""
    if not verdicts:
        return ["No claim speaks of these groups."]
    main = [v for v in verdicts if v.measure == "best_top1" and v.budget == "epochs"]
    counts = Counter(v.verdict for v in main)
    seeds = max(v.estimate.seeds for v in verdicts if v.estimate is not None)
    text = [
        f"Of {len(main)} comparisons of best accuracy at equal epochs, {counts[REPRODUCED]} are reproduced, "
        f"{counts[NOT_REPRODUCED]} are not and {counts[INCONCLUSIVE]} are inconclusive, on {seeds} "
        f"seed{'s' * (seeds > 1)}."
    ]
    tested = [v for v in main if v.p_holm is not None]
    if tested:
        kept = sum(v.verdict != INCONCLUSIVE and v.p_holm < 1 - paired_tests.LEVEL for v in tested)
        text.append(
            "Each interval is at 95 % for itself: about one in twenty that have nothing to show decides all the "
            f"same. Corrected for all {len(tested)} tests of this kind (Holm), {kept} stay decided."
        )
    if seeds == 1:
        text.append(
            "With one seed nothing that varies with the seed can be decided; only counts that follow from the "
            "protocol are."
        )
    return text


def summary(verdicts: list[Verdict]) -> dict[str, list[dict]]:
    """Lines of the two opening tables: claims on accuracy (best, last, held-out marks) and all others (one mark).

    A claim with several comparisons is reproduced under a rule if all of them are, not reproduced if one is not.
    """
    tables: dict[str, list[dict]] = {"accuracy": [], "other": []}
    for claim in dict.fromkeys(v.comparison.claim for v in verdicts):
        mine = [v for v in verdicts if v.comparison.claim is claim]
        accurate = set(claim.measures) <= set(ACCURACIES)
        for budget in claim.budgets:
            for group in [claim.measures] if accurate else [(m,) for m in claim.measures]:
                at = [v for v in mine if v.budget == budget and v.measure in group]
                line = {
                    "key": claim.key,
                    "says": claim.says,
                    "slide": claim.slide,
                    "equal": EQUAL[budget],
                    "measure": NAMES[group[0]],
                }
                told = {
                    number(v.comparison, v.measure, v.comparison.said)
                    for v in at
                    if v.measure == group[0]
                }
                line["slides"] = told.pop() if len(told) == 1 else ""
                line["rules"] = [_reading(at, rule, group) for rule in GREEDY_VARIANTS]
                tables["accuracy" if accurate else "other"].append(line)
    return tables


def headlines(verdicts: list[Verdict]) -> list[dict]:
    """A sentence a headline claim, by its first measure and budget: what is claimed, and what each rule's runs say of it."""
    found = []
    for claim in dict.fromkeys(v.comparison.claim for v in verdicts if v.comparison.claim.headline):
        at = [
            v
            for v in verdicts
            if v.comparison.claim is claim
            and (v.measure, v.budget) == (claim.measures[0], claim.budgets[0])
        ]
        words = []
        for rule, name in GREEDY_VARIANTS.items():
            told = _reading(at, rule, claim.measures[:1])
            if told is None:
                continue
            verdict = combined_verdict([v.verdict for v in at if v.comparison.rule in (rule, None)])
            free = all(v.comparison.rule is None for v in at)
            words.append(f"{'' if free else name + ' rule '}{verdict} ({told['text']})")
        found.append({"key": claim.key, "says": claim.says, "found": "; ".join(words)})
    return found


def _reading(verdicts: list[Verdict], rule: str, measures: tuple) -> dict | None:
    """What a line says under one rule; None where no comparison depends on it and the first rule's says the same."""
    free = all(v.comparison.rule is None for v in verdicts)
    if free and rule != next(iter(GREEDY_VARIANTS)):
        return None
    mine = [v for v in verdicts if v.comparison.rule in (rule, None)]
    first = [v for v in mine if v.measure == measures[0]]
    marks = {
        m: MARKS[combined_verdict([v.verdict for v in mine if v.measure == m])] for m in measures
    }
    if len(first) == 1:
        text = spread(first[0])
    elif all(
        v.estimate is None or v.reason.startswith("needs") for v in first
    ):  # nothing that could be held against it
        text = first[0].reason
    else:
        low, high = first[0].comparison.claim.bounds
        holds = sum(v.estimate is not None and low < v.estimate.mean < high for v in first)
        text = f"{holds} of {len(first)} as claimed"
    order = ACCURACIES if set(measures) <= set(ACCURACIES) else measures
    return {"text": text, "marks": [marks.get(m, "") for m in order]}


def details(verdicts: list[Verdict], gathered: StudyRecords) -> list[dict]:
    """One entry a claim, one line a comparison, budget and (but for accuracies) measure; runs as run_list numbers."""
    numbers = {name: i for i, name in enumerate(dict.fromkeys(map(base, gathered.study.specs)), 1)}
    found = []
    for claim in dict.fromkeys(v.comparison.claim for v in verdicts):
        lines: dict[tuple, list[Verdict]] = {}
        for v in verdicts:
            if v.comparison.claim is claim:
                measure = "" if v.measure in ACCURACIES else v.measure
                lines.setdefault((v.comparison, v.budget, measure), []).append(v)
        found.append(
            {
                "key": claim.key,
                "says": claim.says,
                "slide": claim.slide,
                "bounds": bounds(claim),
                "accuracy": set(claim.measures) <= set(ACCURACIES),
                "lines": [
                    _detail(c, budget, got, numbers) for (c, budget, _), got in lines.items()
                ],
            }
        )
    return found


def _detail(c: Comparison, budget: str, got: list[Verdict], numbers: dict[str, int]) -> dict:
    cells = [{"text": spread(v), "mark": MARKS[v.verdict], "reason": v.reason} for v in got]
    cells += [None] * (len(ACCURACIES) - len(cells)) if got[0].measure in ACCURACIES else []
    floor = got[0].floor
    return {
        "part": c.part,
        "measure": NAMES[got[0].measure],
        "equal": EQUAL[budget],
        "slides": number(c, got[0].measure, c.said),
        "cells": cells,
        "floor": "" if floor is None else f"{floor * (100 if got[0].measure in SHARES else 1):.2f}",
        "needed": needed(got[0]),
        "runs": [numbers[base(row.names[0])] for row in sides(c)],
    }


def base(name: str) -> str:
    return re.sub(r"_seed\d+$", "", name)


def bounds(claim: Claim) -> str:
    """What the statistic is claimed to be, in words."""
    if claim.tolerance is not None:
        shown = 100 * claim.tolerance if claim.measures[0] in SHARES else claim.tolerance
        return f"within {shown:g} points of the slides' value"
    low, high = claim.bounds
    parts = [
        f"above {low:g}" if low > float("-inf") else "",
        f"below {high:g}" if high < float("inf") else "",
    ]
    return " and ".join(p for p in parts if p).replace("-", "−")
