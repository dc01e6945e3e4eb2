"""Why a method does what it does, in curves of its selections.

They show how clean a selection is, how much it moves, how well it stands for all points.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from robustfl.evidence.figures import style
from robustfl.evidence.figures.slides import epochs_axis, line, over_epochs
from robustfl.evidence.tables import StudyRecords
from robustfl.study.experiments import Group, Row

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


def selection(figure: Figure, gathered: StudyRecords, group: Group) -> None:
    """One panel per measure, one line per row.

    There are label panels only under label noise, and no panel where nothing differs.
    """
    noisy = any(gathered.study.specs[row.names[0]].noise != "none" for row in group.rows)
    panels = [
        (text, curves)
        for c, text, rest in (*NOISY * noisy, *ALWAYS)
        if (curves := series(gathered, group, c, rest))
    ]
    wide = min(3, len(panels)) or 1
    high = -(-len(panels) // wide) or 1
    figure.set_size_inches(
        style.WIDTH * (0.62 if wide == 1 else 1), 0.85 + 1.4 * high + 0.13 * len(group.rows) / 3
    )
    looks = style.looks(gathered, group)
    handles = {}  # one per row, from whichever panel drew it last: all panels draw it alike
    for axes, (text, curves) in zip(figure.subplots(high, wide, squeeze=False).ravel(), panels):
        for row, (epochs, y) in curves.items():
            handles[row] = line(axes, epochs, y, looks[row])
        epochs_axis(axes)
        axes.set_title(text, loc="left")
    rows = [row for row in group.rows if row in handles]
    if rows:
        style.legend(
            figure,
            [handles[row] for row in rows],
            [looks[row].label for row in rows],
            4 if wide > 1 else 3,
        )


def series(
    gathered: StudyRecords, group: Group, column: str, rest: bool
) -> dict[Row, tuple[np.ndarray, np.ndarray]]:
    """(epochs,) and (seeds, epochs) in % of each row that has values of the column.

    {} where all rows have the same values.
    """
    curves = {}
    for row in group.rows:
        epochs, y = over_epochs(gathered, row, column, 100.0)
        kept = ~np.isnan(y).any(0)
        if column == "covered":
            kept &= y.max(0) > 0  # nothing is picked in warm-up
        if kept.any():
            curves[row] = epochs[kept], (100 - y if rest else y)[:, kept]

    # lines that all lie on one height say nothing; the slack is for rounding
    means = np.concatenate([y.mean(0) for _, y in curves.values()]) if curves else np.zeros(1)
    return curves if np.ptp(means) > 1e-9 else {}
