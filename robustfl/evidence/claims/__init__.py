"""The claims of config/claims.yaml against the records.

A claim (claim.py) is expanded into comparisons (comparison.py: rows, under one reading of the
greedy rule); each comparison gives one verdict per measure (measures.py) and budget (verdict.py),
where its preconditions (preconditions.py) are met. Statistics are paired by seed:
robustfl.evidence.paired_tests.
"""

from robustfl.evidence.claims.claim import Claim, Side, Statistic, further_sides, load, sides_of
from robustfl.evidence.claims.comparison import Comparison, check, comparisons
from robustfl.evidence.claims.verdict import (
    Outcome,
    Size,
    Verdict,
    combined_outcome,
    corrected,
    floor,
    slides_value,
    verdicts,
)

__all__ = [
    "Claim",
    "Comparison",
    "Outcome",
    "Side",
    "Size",
    "Statistic",
    "Verdict",
    "check",
    "combined_outcome",
    "comparisons",
    "corrected",
    "floor",
    "further_sides",
    "load",
    "sides_of",
    "slides_value",
    "verdicts",
]
