"""Every plot of the slides, and diagnostics of the selections, as SVG files whose bytes follow from the records alone.

names() needs the study only, so that the workflow knows the files before anything has run; draw() needs the records.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robustfl.study import Group, Study

if TYPE_CHECKING:
    from robustfl.tables import Gathered


def kind(group: Group) -> str:
    """Which plot stands beside a group's table: set_cover | ratio | ablations | analysis | curves."""
    for key, name in (
        ("set_cover", "set_cover"),
        ("speed", "ratio"),
        ("ablations", "ablations"),
        ("analysis", "analysis"),
    ):
        if group.key.startswith(key):
            return name
    return "curves"


def diagnosed(study: Study, group: Group) -> bool:
    """Whether a group gets a figure of its selections: some run selects again and again by what the model says."""
    if kind(group) not in ("ratio", "curves"):
        return False
    specs = [study.specs[row.names[0]] for row in group.rows]
    return any(s.method not in ("full", "random") or s.weights != "uniform" for s in specs)


def names(study: Study) -> list[str]:
    """Stems of the figure files of a study: every group's, then the diagnostics'."""
    extra = [f"diagnostics_{key}" for key, group in study.groups.items() if diagnosed(study, group)]
    return [*study.groups, *extra]


def draw(gathered: Gathered, folder: Path) -> None:
    """Write {name}.svg into `folder` for every name of names()."""
    from robustfl.figures import diagnostics, plots, style

    for name in names(gathered.study):
        group = gathered.study.groups[name.removeprefix("diagnostics_")]
        plot = diagnostics.selection if name.startswith("diagnostics_") else plots.PLOTS[kind(group)]
        style.save(plot, gathered, group, folder / f"{name}.svg")
