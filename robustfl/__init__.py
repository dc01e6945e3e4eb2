"""robustfl: training on selected and weighted subsets, and the study that measures it.

`robustfl.select` is the selection call for other people's training. It is imported on first use, so that
`import robustfl` (the Snakefile's path) stays fast and needs neither torch nor numba.
"""

from importlib import import_module

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
