"""Which points a rule picks: how clean the picks of each class are, and the extreme images.

The extreme images are those picked most and least often.
"""

from __future__ import annotations

import base64
import textwrap
import zlib

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from robustfl.data import DATASETS
from robustfl.evidence.figures import style
from robustfl.evidence.tables import StudyRecords
from robustfl.study.experiments import Group, Row
from robustfl.study.record import Record

SHOWN = 6  # images of each kind in a strip


def chosen(gathered: StudyRecords, group: Group) -> list[tuple[Row, Record]]:
    """The rows whose first seed selects again and again under label noise."""
    return [(row, run) for row in group.rows if (run := gathered.runs_of(row)[0]).picks["most"]]


def classes(figure: Figure, gathered: StudyRecords, group: Group) -> None:
    """One panel per row: class against epoch, of the first seed.

    The colour is the share of the picks whose given label is true.
    """
    rows = chosen(gathered, group)
    wide = min(3, len(rows)) or 1
    high = -(-len(rows) // wide) or 1
    figure.set_size_inches(style.WIDTH, 0.5 + 1.6 * high)
    grid = figure.subplots(high, wide, squeeze=False)
    image = None  # the last panel's, whose colours the bar explains
    names = DATASETS[group.dataset].classes
    looks = style.looks(gathered, group)
    for axes in grid.ravel()[len(rows) :]:
        axes.set_axis_off()

    for axes, (row, run) in zip(grid.ravel(), rows):
        # a column per epoch that selected anew, a cell that stays nan where a class has no picks
        epochs = sorted({int(c["epoch"]) for c in run.classes})
        share = np.full((len(names), len(epochs)), np.nan)
        for c in run.classes:
            if c["label_precision"] is not None:
                share[int(c["class"]), epochs.index(int(c["epoch"]))] = 100 * c["label_precision"]
        extent = (epochs[0] - 0.5, epochs[-1] + 0.5, len(names) - 0.5, -0.5)
        image = axes.imshow(
            share,
            aspect="auto",
            extent=extent,
            vmin=0,
            vmax=100,
            cmap="viridis",
            interpolation="nearest",
        )
        axes.set_title(textwrap.fill(looks[row].label, 22), loc="left")
        axes.set_yticks(range(len(names)), names if axes in grid[:, 0] else [], fontsize=5)
        axes.set_xlabel("epoch")
        axes.grid(False)
    if image is not None:
        figure.colorbar(image, ax=grid, label="picks with a true label (%)")


def images(figure: Figure, gathered: StudyRecords, group: Group) -> None:
    """One strip per row: the images picked most often, then those picked least often.

    They are of the first seed. Above each image stand its given class and how often it was picked;
    a thick frame and `not` mark a false label.
    """
    rows = chosen(gathered, group)
    high = 0.3 + 0.95 * len(rows)
    figure.set_size_inches(style.WIDTH, high)
    # room for the first row's title
    figure.set_layout_engine("constrained", h_pad=0.09, w_pad=0.01, rect=(0, 0, 1, 1 - 0.2 / high))
    names = DATASETS[group.dataset].classes
    looks = style.looks(gathered, group)

    # a narrow column that stays empty keeps the two kinds apart
    widths = [1.0] * SHOWN + [0.3] + [1.0] * SHOWN
    grid = figure.subplots(max(1, len(rows)), len(widths), squeeze=False, width_ratios=widths)
    for axes in grid.ravel():
        axes.set_axis_off()
    for axes_row, (row, run) in zip(grid, rows):
        shown = [*axes_row[:SHOWN], *axes_row[SHOWN + 1 :]]
        for axes, text in (
            (shown[0], f"{looks[row].label}: most often"),
            (shown[SHOWN], "least often"),
        ):
            title = axes.text(0, 1.5, text, transform=axes.transAxes)
            title.set_in_layout(False)  # else it widens one image's column
        for axes, point in zip(shown, run.picks["most"][:SHOWN] + run.picks["least"][:SHOWN]):
            _show(axes, point, run, names)


def _show(axes: Axes, point: dict, run: Record, names: tuple[str, ...]) -> None:
    """One image with its class and count above it, framed where its given label is false."""
    raw = zlib.decompress(base64.b64decode(point["pixels"]))
    pixels = np.frombuffer(raw, np.uint8).reshape(run.picks["shape"])  # (H, W, C)
    axes.imshow(pixels.squeeze(), cmap="gray", interpolation="nearest")
    false = point["given"] != point["true"]
    axes.text(
        0.5,
        1.04,
        f"{'not ' * false}{names[point['given']]}\n{point['count']} of {run.picks['selections']}",
        transform=axes.transAxes,
        ha="center",
        va="bottom",
        fontsize=4.5,
        color="#d55e00" if false else "black",
    )
    if not false:
        return

    # the frame lies on the image's edge: pixel centres are whole numbers
    high, wide = pixels.shape[:2]
    axes.add_patch(
        Rectangle((-0.5, -0.5), wide, high, fill=False, edgecolor="#d55e00", linewidth=2.5)
    )
