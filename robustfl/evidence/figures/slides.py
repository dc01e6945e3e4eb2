"""The plots of the slides: accuracy curves, accuracy against ratio, set cover and ablation points, training behaviour.

Each takes an empty figure, the gathered records and a group. Lines and points are means over seeds, bands and bars one
standard deviation between seeds; black crosses are the slides' numbers.
"""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from robustfl.evidence.figures import style
from robustfl.evidence.tables import GREEDY_VARIANTS, StudyRecords, row_of, values
from robustfl.study.experiments import Group, Row

FEW = 12  # epochs up to which every epoch gets a marker


def over_epochs(
    gathered: StudyRecords, row: Row, column: str, scale: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """(epochs,) and (seeds, epochs) of a column of curves.csv, at the epochs where every seed has it."""
    records = gathered.runs_of(row)
    cells = [
        [np.nan if e[column] is None else e[column] * scale for e in r.curves] for r in records
    ]
    values = np.array(cells, dtype=float)
    full = ~np.isnan(values).any(0)
    return np.array([e["epoch"] for e in records[0].curves])[full], values[:, full]


def line(axes: Axes, x: np.ndarray, y: np.ndarray, look: style.Look) -> Line2D:
    """Mean of y (seeds, points) over x with a band of one standard deviation between seeds."""
    every = 1 if len(x) <= FEW else max(1, len(x) // 8)
    mean = y.mean(0)
    (drawn,) = axes.plot(x, mean, markevery=every, **look.line())
    if len(y) > 1:
        sd = y.std(0, ddof=1)
        axes.fill_between(x, mean - sd, mean + sd, color=look.colour, alpha=0.1, linewidth=0)
    return drawn


def epochs_axis(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def curves(figure: Figure, gathered: StudyRecords, group: Group) -> None:
    """test_top1 and test_top5 over the epochs, one line a row (slides: "acc/test_top1", "acc/test_top5")."""
    figure.set_size_inches(style.WIDTH, 2.6 + 0.16 * len(group.rows) / 3)
    top1, top5 = figure.subplots(1, 2)
    looks, handles = style.looks(gathered, group), []
    for row in group.rows:
        handles.append(line(top1, *over_epochs(gathered, row, "test_top1"), looks[row]))
        line(top5, *over_epochs(gathered, row, "test_top5"), looks[row])
    for axes, name in ((top1, "top-1"), (top5, "top-5")):
        epochs_axis(axes)
        axes.set_ylabel(f"test {name} accuracy (%)")
    style.legend(figure, handles, [looks[row].label for row in group.rows])


def ratio(figure: Figure, gathered: StudyRecords, group: Group) -> None:
    """Best test accuracy and data covered against the facility ratio, one line a selector, with the slides' points."""
    figure.set_size_inches(style.WIDTH, 2.7)
    left, right = figure.subplots(1, 2)
    named = {}
    for at, method in enumerate(dict.fromkeys(row.method for row in group.rows)):
        rows = [row for row in group.rows if row.method == method]
        spec = gathered.study.specs[rows[0].names[0]]
        colour = style.COLOURS.get(style.approach(spec), style.OTHERS[at % len(style.OTHERS)])
        look = {
            "color": colour,
            "linestyle": style.dashes(spec),
            "marker": style.MARKERS[at],
            "capsize": 2,
        }
        x = [100 * gathered.study.specs[row.names[0]].ratio for row in rows]
        for axes, key, unit in ((left, "best_top1", 1), (right, "covered", 100)):
            y = (
                np.array([values(gathered.runs_of(row), key) for row in rows]) * unit
            )  # (rows, seeds)
            drawn = axes.errorbar(
                x, y.mean(1), yerr=y.std(1, ddof=1) if y.shape[1] > 1 else None, **look
            )
        named[
            f"FL only ({GREEDY_VARIANTS[method]})"
            if method in GREEDY_VARIANTS
            else method.replace("_", " ")
        ] = drawn
    ratios = {row.label: 100 * gathered.study.specs[row.names[0]].ratio for row in group.rows}
    said = {
        row.label: gathered.slide_numbers(group, row)
        for row in group.rows
        if gathered.slide_numbers(group, row)
    }
    for axes, key, unit in ((left, "best", 1), (right, "covered", 100)):
        points = [
            (ratios[label], unit * numbers[key])
            for label, numbers in said.items()
            if key in numbers
        ]
        if points:
            (named["slides"],) = axes.plot(*zip(*points), **style.SLIDES)
    for axes in (left, right):
        axes.set_xlabel("facility ratio (%)")
        axes.set_xticks(sorted(set(ratios.values())))
    left.set_ylabel("best test top-1 accuracy (%)")
    right.set_ylabel("data covered (% of training set)")
    style.legend(figure, list(named.values()), list(named))


def analysis(figure: Figure, gathered: StudyRecords, group: Group) -> None:
    """Training and test accuracy of FL and of full training, over epochs and over backward passes."""
    figure.set_size_inches(style.WIDTH, 4.1)
    panels = figure.subplots(2, 2, sharey="col")
    looks, handles = style.looks(gathered, group), []
    for row in group.rows:
        passes = over_epochs(gathered, row, "backwards")[1].mean(0) / 1000
        for column, key in enumerate(("train_acc_given", "test_top1")):
            x, y = over_epochs(gathered, row, key)
            drawn = line(panels[0, column], x, y, looks[row])
            line(panels[1, column], passes, y, looks[row])
        handles.append(drawn)
    for axes in panels[:, 0]:
        axes.set_ylabel("training accuracy (%)")
    for axes in panels[:, 1]:
        axes.set_ylabel("test top-1 accuracy (%)")
    for axes in panels[0]:
        epochs_axis(axes)
    for axes in panels[1]:
        axes.set_xlabel("backward passes (thousand images)")
    style.legend(figure, handles, [looks[row].label for row in group.rows], 3)


def set_cover(figure: Figure, gathered: StudyRecords, group: Group) -> None:
    """Best test accuracy of each row as a point, with the slides' number."""
    _dots(figure, gathered, group, list(group.rows), "best test top-1 accuracy (%)", changes=False)


def ablations(figure: Figure, gathered: StudyRecords, group: Group) -> None:
    """Change of the best test accuracy from the group's first row of the same selector, with the slides' change."""
    rows = [row for row in group.rows if row.label != group.rows[0].label]
    text = f"change of best test top-1 accuracy (points) from: {group.rows[0].label}"
    _dots(figure, gathered, group, rows, text, changes=True)


def _dots(
    figure: Figure, gathered: StudyRecords, group: Group, rows: list[Row], text: str, changes: bool
) -> None:
    labels = list(dict.fromkeys(row.label for row in rows))
    beside = {label: [row.method for row in rows if row.label == label] for label in labels}
    figure.set_size_inches(style.WIDTH, 1.1 + 0.3 * len(labels))
    axes = figure.subplots()
    named = {}
    for row in rows:
        spec = gathered.study.specs[row.names[0]]
        got = np.array(values(gathered.runs_of(row), "best_top1"))
        if changes:
            got = got - np.array(
                values(
                    gathered.runs_of(row_of(group, group.rows[0].label, row.method)), "best_top1"
                )
            )
        mine = beside[row.label]
        y = labels.index(row.label) + 0.22 * (mine.index(row.method) - (len(mine) - 1) / 2)
        name = (
            f"{style.approach(spec)} ({GREEDY_VARIANTS[row.method]})"
            if row.method in GREEDY_VARIANTS
            else style.approach(spec)
        )
        released = row.method == "centrality"
        colour = style.COLOURS.get(style.approach(spec), style.OTHERS[0])
        sd = got.std(ddof=1) if len(got) > 1 else None
        named[name] = axes.errorbar(
            got.mean(),
            y,
            xerr=sd,
            marker="s" if released else "o",
            markersize=5,
            color=colour,
            linestyle="none",
            markerfacecolor="white" if released else colour,
            capsize=2,
            zorder=3,
        )
        said = gathered.slide_numbers(group, row).get("best_difference" if changes else "best")
        if said is not None:
            (named["slides"],) = axes.plot(said, labels.index(row.label), **style.SLIDES)
    if changes:
        axes.axvline(0, color="#444444", linewidth=0.8, zorder=1)
    axes.set_yticks(range(len(labels)), [textwrap.fill(label, 30) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel(textwrap.fill(text, 90))
    named = {k: v for k, v in named.items() if k != "slides"} | (
        {"slides": named["slides"]} if "slides" in named else {}
    )
    style.legend(figure, list(named.values()), list(named))


PLOTS = {
    "curves": curves,
    "ratio": ratio,
    "analysis": analysis,
    "set_cover": set_cover,
    "ablations": ablations,
}
