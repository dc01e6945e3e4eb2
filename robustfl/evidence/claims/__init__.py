"""The claims of config/claims.yaml against the records: reproduced, not reproduced or inconclusive.

A claim (claim.py) is expanded into comparisons (comparison.py: a pair of rows, or a row and the
slides' number, under one reading of the greedy rule); each comparison gives one verdict per measure
(measures.py) and budget (verdict.py). Statistics are paired by seed:
robustfl.evidence.paired_tests.
"""

from robustfl.evidence.claims.claim import Claim, Side, load
from robustfl.evidence.claims.comparison import Comparison, check, comparisons
from robustfl.evidence.claims.verdict import (
    Verdict,
    Why,
    combined_verdict,
    evaluate_comparison,
    verdicts,
)

__all__ = [
    "Claim",
    "Comparison",
    "Side",
    "Verdict",
    "Why",
    "check",
    "combined_verdict",
    "comparisons",
    "evaluate_comparison",
    "load",
    "verdicts",
]
