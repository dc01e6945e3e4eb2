"""Selection of weighted subsets: `select` for everybody, `SELECTORS` for the study.

Each method is one file of `methods/`. The contract of a method is `Selector`; what methods share is
in `per_class`. Wherever points are taken, `OuterProducts` are taken too.
"""

from robustfl.selection.api import SELECTORS, Selector, select
from robustfl.selection.outer import OuterProducts
from robustfl.selection.result import Selection

__all__ = ["SELECTORS", "OuterProducts", "Selection", "Selector", "select"]
