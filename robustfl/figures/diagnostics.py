"""Why a method does what it does: how clean its selection is, how much it moves, how well it stands for the whole set."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from robustfl.figures import style
from robustfl.figures.plots import epochs_axis, line, over_epochs
from robustfl.study import Group
from robustfl.tables import Gathered

NOISY = (  # column of curves.csv, axis, share of it or of what is left to 1
    ("label_precision", "picks with a true label (%)", False),
    ("label_recall", "true labels picked (%)", False),
    ("weighted_precision", "weight on false labels (%)", True),
)
ALWAYS = (
    ("covered", "data covered so far (%)", False),
    ("overlap", "overlap with last selection (%)", False),
    ("objective", "F(S) / F(all points) (%)", False),
)


def selection(figure: Figure, gathered: Gathered, group: Group) -> None:
    """One panel a measure, one line a row; label panels only where labels are noisy."""
    noisy = any(gathered.study.specs[row.names[0]].noise != "none" for row in group.rows)
    chosen = (*NOISY, *ALWAYS) if noisy else ALWAYS
    figure.set_size_inches(style.WIDTH, (4.4 if noisy else 2.5) + 0.15 * len(group.rows) / 3)
    panels = figure.subplots(len(chosen) // 3, 3, squeeze=False).ravel()
    looks, handles = style.looks(gathered, group), {}
    for axes, (column, text, rest) in zip(panels, chosen):
        drawn = False
        for row in group.rows:
            epochs, y = over_epochs(gathered, row, column, 100.0)
            kept = ~np.isnan(y).any(0)
            if column == "covered":
                kept &= y.max(0) > 0  # nothing is picked in warm-up
            if not kept.any() or (column == "overlap" and len(set(y[:, kept].ravel())) == 1):
                continue  # one selection kept for good, or every point always: nothing to see
            y = 100 - y if rest else y
            handles[row] = line(axes, epochs[kept], y[:, kept], looks[row])
            drawn = True
        epochs_axis(axes)
        axes.set_title(text, loc="left")
        if not drawn:
            axes.text(0.5, 0.5, "no value in these runs", transform=axes.transAxes, ha="center", va="center")
    rows = [row for row in group.rows if row in handles]
    style.legend(figure, [handles[row] for row in rows], [looks[row].label for row in rows])
