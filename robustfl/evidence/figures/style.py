"""How a row looks in every figure.

Colour is what is trained on, line style the greedy rule, shade the setting.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import seaborn
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from robustfl.evidence.tables import StudyRecords, display_label
from robustfl.files import write_atomically
from robustfl.study.experiments import Group, Row
from robustfl.study.run_spec import RunSpec

WIDTH = 6.5  # inches: the text width of the report, so that a point in a figure is a point on paper
# Apart for every kind of colour vision (after Okabe and Ito, "Color Universal Design", 2008), each
# darkened to a contrast of 3:1 on white at least. Beyond these eight the markers tell lines apart.
PALETTE = (
    "#000000",
    "#0072B2",
    "#8C6D00",
    "#D55E00",
    "#6E6E6E",
    "#B2568E",
    "#00785A",
    "#7B3294",
)
COLOURS = {
    "full": PALETTE[0],
    "weighted only": PALETTE[1],
    "FL only": PALETTE[2],
    "FL weighted": PALETTE[3],
    "random": PALETTE[4],
    "set cover": PALETTE[5],
}
LEAST_CONTRAST = 3.0  # of a line on white, see `contrast`
DASHES = {"facility_location": "-", "centrality": (0, (4, 1.5)), "random": (0, (1, 1.2))}
MARKERS = "os^DvPX<>"
SLIDES: dict[str, Any] = {
    "marker": "x",
    "color": "#000000",
    "linestyle": "none",
    "markersize": 6,
    "markeredgewidth": 1.4,
    "zorder": 5,
}
RC = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.4,
    "grid.color": "#DDDDDD",
    "axes.edgecolor": "#444444",
    "svg.hashsalt": "robustfl",
    "svg.fonttype": "none",  # text stays text: it can be searched and copied
    "legend.frameon": False,
    "text.color": "#000000",
    "axes.labelcolor": "#000000",
}


@dataclass(frozen=True)
class Look:
    label: str
    colour: tuple[float, float, float]
    dashes: object
    marker: str

    def line(self) -> dict:
        """Arguments of matplotlib's plot."""
        return {
            "color": self.colour,
            "linestyle": self.dashes,
            "marker": self.marker,
            "label": self.label,
        }


def approach(spec: RunSpec) -> str:
    """What the slides call the way a run picks and weights its points.

    A baseline keeps its selector's name.
    """
    weighted = spec.weights != "uniform"
    if spec.update_rule != "plain":
        return spec.update_rule.replace("_", " ")
    if spec.mixup or spec.ratio_end:
        return "CRUST" if spec.mixup else "curriculum"
    if spec.method == "full":
        return "weighted only" if weighted else "full"
    if spec.method in ("facility_location", "centrality"):
        return "FL weighted" if weighted else "FL only"
    return spec.method.replace("_", " ")


def looks(gathered: StudyRecords, group: Group) -> dict[Row, Look]:
    """The look of each row.

    Rows alike in approach and line style get shades, dark to light, in the table's order.
    """
    specs = {row: gathered.study.specs[row.names[0]] for row in group.rows}
    # what has no colour of its own takes those that the figure's other lines leave
    approaches = [approach(s) for s in specs.values()]
    others = sorted(set(approaches) - set(COLOURS))
    left = [c for c in PALETTE if c not in {COLOURS[a] for a in approaches if a in COLOURS}]
    colours = COLOURS | {name: left[i % len(left)] for i, name in enumerate(others)}
    alike: dict[tuple, list[Row]] = {}
    for row, spec in specs.items():
        alike.setdefault((approach(spec), dashes(spec)), []).append(row)

    # markers follow the row, so that lines of one colour and style still differ
    row_looks = {}
    for i, row in enumerate(group.rows):
        same = alike[approach(specs[row]), dashes(specs[row])]
        colour = shade(colours[approach(specs[row])], same.index(row), len(same))
        marker = MARKERS[i % len(MARKERS)]
        row_looks[row] = Look(display_label(row), colour, dashes(specs[row]), marker)
    return row_looks


def dashes(spec: RunSpec) -> object:
    """The line style: dashed for the released rule and for radii in class medians."""
    # radii in class medians are beside radii in absolute units, of one and the same rule
    if spec.radius_unit == "median" and spec.weights == "ball":
        return DASHES["centrality"]
    return DASHES.get(spec.method, "-")


def shade(colour: str, at: int, of: int) -> tuple[float, float, float]:
    """`colour` itself when it is alone; otherwise shade `at` of `of` from darkened to lightened."""
    base = np.array(to_rgb(colour))
    if of == 1:
        return tuple(base)

    # never all the way to white, which is the paper
    level = at / (of - 1)  # 0 dark, 1 light
    mixed = base * (0.45 + 1.1 * level) if level < 0.5 else base + (1 - base) * (level - 0.5) * 1.1
    mixed = np.clip(mixed, 0, 1)
    while contrast(mixed.tolist()) < LEAST_CONTRAST:
        mixed = mixed * 0.97
    return tuple(mixed.round(4))


def contrast(colour: Sequence[float]) -> float:
    """Contrast of a colour (r, g, b in 0 to 1) with white, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 1.05 / (luminance + 0.05)


def legend(figure: Figure, handles: list, labels: list[str], columns: int = 4) -> None:
    """One legend under all panels, where it covers no data."""
    labels = [textwrap.fill(label, 34) for label in labels]
    beside = 110 // (max(map(len, labels)) + 5)  # 110 characters fit beside each other
    columns = min(columns, len(labels), beside)
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns,
        handlelength=2.6,
        columnspacing=1.4,
    )


def save(
    plot: Callable[[Figure, StudyRecords, Group], None],
    gathered: StudyRecords,
    group: Group,
    path: Path,
) -> None:
    """Draw the figure of a group and write it whole."""
    write_svg(lambda figure: plot(figure, gathered, group), path)


def write_svg(draw: Callable[[Figure], None], path: Path) -> None:
    """Draw one figure and write it whole.

    Same records, same bytes: fixed salt, no date. Text stays text.
    """
    # from matplotlib's own defaults, not from what a matplotlibrc of this user made of them
    defaults = {k: v for k, v in matplotlib.rcParamsDefault.items() if k != "backend"}

    # a figure without pyplot: no global state, no window, nothing left open
    with matplotlib.rc_context(defaults | seaborn.axes_style("whitegrid") | RC):
        figure = Figure(layout="constrained")
        canvas = FigureCanvasSVG(figure)
        draw(figure)
        out = io.BytesIO()
        canvas.print_svg(out, metadata={"Date": None})
    write_atomically(path, out.getvalue().decode())
