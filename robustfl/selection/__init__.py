"""Selection of weighted subsets: `select` for everybody, `SELECTORS` for the study, one file a method.

Contract of a selector: select(points (n, d), labels (n,), ratio, rng, **options) -> Selection, sorted by class and then
by greedy order; inputs untouched; the same seed gives the same answer; max(1, floor(ratio * n_c)) picks of class c
(`full` takes all, `set_cover` works on the whole set). Whoever takes points takes `OuterProducts`.
"""

from robustfl.selection.api import SELECTORS, select
from robustfl.selection.outer import OuterProducts
from robustfl.selection.result import Selection

__all__ = ["SELECTORS", "OuterProducts", "Selection", "select"]
