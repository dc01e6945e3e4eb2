"""robustfl: training on selected and weighted subsets, and the study that measures it.

`robustfl.select` is the selection call for other people's training. It is imported on first use, so
that `import robustfl` (the Snakefile's path) stays fast and needs neither torch nor numba.
"""

from importlib import import_module
from typing import TYPE_CHECKING

# what editors and type checkers see of the names that are imported on first use
if TYPE_CHECKING:
    from robustfl.selection import Selection, select
    from robustfl.selection.sampler import CoresetSampler

__version__ = "0.1.0"
__all__ = ["CoresetSampler", "Selection", "select"]
_HOMES = {
    "select": "robustfl.selection",
    "Selection": "robustfl.selection",
    "CoresetSampler": "robustfl.selection.sampler",
}


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'robustfl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
