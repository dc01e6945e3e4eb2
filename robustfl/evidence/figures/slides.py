"""The plots of the slides: accuracy curves, accuracy against ratio, points, training behaviour.

Each takes an empty figure, the gathered records and a group. Lines and points are means over seeds,
bands and bars one standard deviation between seeds; black crosses are the slides' numbers. What is
drawn as points is built as points first, so that the numbers of a figure can be tested.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from robustfl.evidence.figures import style
from robustfl.evidence.tables import GREEDY_VARIANTS, StudyRecords, row_under, values
from robustfl.study.experiments import Group, Row
from robustfl.study.run_spec import RunSpec

FEW = 12  # epochs up to which every epoch gets a marker


@dataclass(frozen=True, eq=False)
class Point:
    """One row of a group in a figure of points."""

    row: Row
    spec: RunSpec  # of the row's first seed
    series: str  # its name in the legend
    x: float  # 0 where rows stand by label
    mean: float  # over seeds
    sd: float | None  # sample standard deviation between seeds; None with one seed
    published: float | None  # the slides' number

    @classmethod
    def of(
        cls,
        row: Row,
        spec: RunSpec,
        series: str,
        x: float,
        numbers: np.ndarray,
        published: float | None,
    ) -> Point:
        """The point of a row's numbers (seeds,)."""
        sd = float(numbers.std(ddof=1)) if len(numbers) > 1 else None
        return cls(row, spec, series, x, float(numbers.mean()), sd, published)


def by_series(points: list[Point]) -> dict[str, list[Point]]:
    """The points of each series, in their order."""
    series: dict[str, list[Point]] = {}
    for point in points:
        series.setdefault(point.series, []).append(point)
    return series


def _spec(gathered: StudyRecords, row: Row) -> RunSpec:
    return gathered.study.specs[row.names[0]]


def _per_seed(gathered: StudyRecords, row: Row, key: str) -> np.ndarray:
    """A number of metrics.json of a row, (seeds,)."""
    return np.array(values(gathered.runs_of(row), key), dtype=float)


# figures of lines


def over_epochs(
    gathered: StudyRecords, row: Row, column: str, scale: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """(epochs,) and (seeds, epochs) of a column of curves.csv, where every seed has it."""
    records = gathered.runs_of(row)
    cells = [
        [np.nan if e[column] is None else e[column] * scale for e in r.curves] for r in records
    ]
    table = np.array(cells, dtype=float)  # (seeds, epochs)
    full = ~np.isnan(table).any(0)
    return np.array([e["epoch"] for e in records[0].curves])[full], table[:, full]


def line(axes: Axes, x: np.ndarray, y: np.ndarray, look: style.Look) -> Line2D:
    """Mean of y (seeds, points) over x with a band of one standard deviation between seeds."""
    # markers tell lines apart in print, but one on every epoch would hide the line
    every = 1 if len(x) <= FEW else max(1, len(x) // 8)
    mean = y.mean(0)
    (drawn,) = axes.plot(x, mean, markevery=every, **look.line())
    if len(y) > 1:
        sd = y.std(0, ddof=1)
        axes.fill_between(x, mean - sd, mean + sd, color=look.colour, alpha=0.1, linewidth=0)
    return drawn


def epochs_axis(axes: Axes) -> None:
    """Label an axis of epochs, which are whole numbers."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def curves(figure: Figure, gathered: StudyRecords, group: Group) -> None:
    """test_top1 and test_top5 over the epochs, one line per row.

    Slides: "acc/test_top1", "acc/test_top5".
    """
    figure.set_size_inches(style.WIDTH, 2.6 + 0.16 * len(group.rows) / 3)
    top1, top5 = figure.subplots(1, 2)
    looks = style.looks(gathered, group)
    handles = []
    for row in group.rows:
        handles.append(line(top1, *over_epochs(gathered, row, "test_top1"), looks[row]))
        line(top5, *over_epochs(gathered, row, "test_top5"), looks[row])
    for axes, name in ((top1, "top-1"), (top5, "top-5")):
        epochs_axis(axes)
        axes.set_ylabel(f"test {name} accuracy (%)")
    style.legend(figure, handles, [looks[row].label for row in group.rows])


def analysis(figure: Figure, gathered: StudyRecords, group: Group) -> None:
    """Training and test accuracy of FL and of full training, over epochs and backward passes."""
    figure.set_size_inches(style.WIDTH, 4.1)
    panels = figure.subplots(2, 2, sharey="col")
    looks = style.looks(gathered, group)
    handles = []
    for row in group.rows:
        # the axis below: the same curve against what it has cost, in thousand images
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


# figures of points


def ratio(figure: Figure, gathered: StudyRecords, group: Group) -> None:
    """Best test accuracy and data covered against the facility ratio.

    One line per selector, with the slides' points.
    """
    figure.set_size_inches(style.WIDTH, 2.7)
    left, right = figure.subplots(1, 2)
    handles: dict[str, Any] = {}
    for axes, points in (
        (left, ratio_points(gathered, group, "best_top1", "best", 1)),
        (right, ratio_points(gathered, group, "covered", "covered", 100)),
    ):
        for i, (name, series) in enumerate(by_series(points).items()):
            handles[name] = axes.errorbar(
                [point.x for point in series],
                [point.mean for point in series],
                yerr=[point.sd for point in series] if series[0].sd is not None else None,
                **ratio_look(series[0].spec, i),
            )

        # the rules share the slides' number of a ratio, and it is drawn once
        crosses = dict.fromkeys((p.x, p.published) for p in points if p.published is not None)
        if crosses:
            (handles["slides"],) = axes.plot(*zip(*crosses), **style.SLIDES)
        axes.set_xlabel("facility ratio (%)")
        axes.set_xticks(sorted({point.x for point in points}))
    left.set_ylabel("best test top-1 accuracy (%)")
    right.set_ylabel("data covered (% of training set)")
    _legend_slides_last(figure, handles)


def ratio_points(
    gathered: StudyRecords, group: Group, key: str, published: str, unit: float
) -> list[Point]:
    """A number of each row over its ratio in per cent; a series is a selector.

    key: of metrics.json; published: of slides.yaml; both are multiplied by `unit`.
    """
    points = []
    for row in group.rows:
        spec = _spec(gathered, row)
        number = gathered.slide_numbers(group, row).get(published)
        if row.method in GREEDY_VARIANTS:
            series = f"FL only ({GREEDY_VARIANTS[row.method]})"
        else:
            series = row.method.replace("_", " ")
        numbers = unit * _per_seed(gathered, row, key)
        slides = None if number is None else unit * number
        points.append(Point.of(row, spec, series, 100 * spec.ratio, numbers, slides))
    return points


def ratio_look(spec: RunSpec, position: int) -> dict[str, Any]:
    """How the selector at this position of the legend is drawn."""
    other = style.PALETTE[-1 - position % 3]
    return {
        "color": style.COLOURS.get(style.approach(spec), other),
        "linestyle": style.dashes(spec),
        "marker": style.MARKERS[position],
        "capsize": 2,
    }


def set_cover(figure: Figure, gathered: StudyRecords, group: Group) -> None:
    """Best test accuracy of each row as a point, with the slides' number."""
    points = accuracy_points(gathered, group)
    _dots(figure, points, "best test top-1 accuracy (%)")


def ablations(figure: Figure, gathered: StudyRecords, group: Group) -> None:
    """Change of the best test accuracy from the group's first row of the same selector."""
    points = change_points(gathered, group)
    first = group.rows[0].label
    _dots(figure, points, f"change of best test top-1 accuracy (points) from: {first}", zero=True)


def accuracy_points(gathered: StudyRecords, group: Group) -> list[Point]:
    """Best accuracy of each row, %; a series is an approach under one rule."""
    points = []
    for row in group.rows:
        spec = _spec(gathered, row)
        published = gathered.slide_numbers(group, row).get("best")
        numbers = _per_seed(gathered, row, "best_top1")
        points.append(Point.of(row, spec, _approach(row, spec), 0.0, numbers, published))
    return points


def change_points(gathered: StudyRecords, group: Group) -> list[Point]:
    """Change of best accuracy from the group's first row of the same selector, points.

    A row whose selector has no such first row has no change, hence no point.
    """
    points = []
    for row in group.rows:
        first = row_under(group, group.rows[0].label, row.method)
        if first is None or row.label == first.label:
            continue
        # seed by seed: what the two runs of a seed share cancels, and does not widen the bar
        numbers = _per_seed(gathered, row, "best_top1") - _per_seed(gathered, first, "best_top1")
        spec = _spec(gathered, row)
        published = gathered.slide_numbers(group, row).get("best_difference")
        points.append(Point.of(row, spec, _approach(row, spec), 0.0, numbers, published))
    return points


def _approach(row: Row, spec: RunSpec) -> str:
    rule = GREEDY_VARIANTS.get(row.method)
    return f"{style.approach(spec)} ({rule})" if rule else style.approach(spec)


def _dots(figure: Figure, points: list[Point], text: str, zero: bool = False) -> None:
    """One line per label; the points of a label stand a little apart. zero: draw the zero line."""
    labels = list(dict.fromkeys(point.row.label for point in points))
    beside = {name: [p for p in points if p.row.label == name] for name in labels}
    figure.set_size_inches(style.WIDTH, 1.1 + 0.3 * len(labels))
    axes = figure.subplots()
    handles: dict[str, Any] = {}
    for point in points:
        line = labels.index(point.row.label)
        neighbours = beside[point.row.label]
        released = point.row.method == "centrality"
        colour = style.COLOURS.get(style.approach(point.spec), style.PALETTE[-1])
        handles[point.series] = axes.errorbar(
            point.mean,
            line + 0.22 * (neighbours.index(point) - (len(neighbours) - 1) / 2),
            xerr=point.sd,
            marker="s" if released else "o",
            markersize=5,
            color=colour,
            linestyle="none",
            markerfacecolor="white" if released else colour,
            capsize=2,
            zorder=3,
        )
        if point.published is not None:
            (handles["slides"],) = axes.plot(point.published, line, **style.SLIDES)

    if zero:
        axes.axvline(0, color="#444444", linewidth=0.8, zorder=1)
    axes.set_yticks(range(len(labels)), [textwrap.fill(label, 30) for label in labels])
    # the first label on top, as in the table
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel(textwrap.fill(text, 90))
    _legend_slides_last(figure, handles)


def _legend_slides_last(figure: Figure, handles: dict[str, Any]) -> None:
    names = sorted(handles, key=lambda name: name == "slides")  # a stable sort
    style.legend(figure, [handles[name] for name in names], names)


# `figure:` of a group -> what draws it
PLOTS: dict[str, Callable[[Figure, StudyRecords, Group], None]] = {
    "curves": curves,
    "ratio": ratio,
    "analysis": analysis,
    "set_cover": set_cover,
    "ablations": ablations,
}
