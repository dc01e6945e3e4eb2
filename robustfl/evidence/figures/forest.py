"""The forest plot: one line per comparison, with its interval, the slides' value and random's."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass

from matplotlib.figure import Figure

from robustfl.evidence.claims import Outcome, Verdict
from robustfl.evidence.figures import style

RULES = {  # rule -> (colour, marker, name)
    "facility_location": ("#0072B2", "o", "exact greedy"),
    "centrality": ("#D55E00", "s", "released rule"),
    None: ("#000000", "o", "no greedy step"),
}
NOT_TESTED = "#9A9A9A"
RANDOM = {"marker": "D", "color": "#6A3D9A", "linestyle": "none", "fillstyle": "none"}
BOUND = {"marker": "|", "color": "#444444", "linestyle": "none", "markersize": 11}
LINE = 0.2  # inches of height per comparison
LABEL = 46  # characters of a claim before it is wrapped


@dataclass(frozen=True)
class Line:
    """One comparison; where: the scale that answers it, empty where the figure is of one scale."""

    verdict: Verdict
    where: str = ""


def draw(figure: Figure, lines: list[Line]) -> None:
    """Differences in points. Grey: the runs cannot test it. Claims stand in their order.

    The diamond is the random subset of the same size in the method's place.
    """
    # a claim's lines stand together, its words at the first of them
    claims: dict[str, list[Line]] = {}
    for line in lines:
        claims.setdefault(line.verdict.comparison.claim.key, []).append(line)
    if not lines:
        figure.set_size_inches(style.WIDTH, 0.5)
        figure.text(0.5, 0.5, "No primary claim speaks of these groups.", ha="center")
        return
    height = sum(max(len(of), 2) for of in claims.values()) * LINE
    figure.set_size_inches(style.WIDTH, height + 0.9)
    axes = figure.subplots()
    axes.axvline(0, color="#444444", linewidth=0.8, zorder=1)

    at, ticks, labels = 0.0, [], []
    for of in claims.values():
        claim = of[0].verdict.comparison.claim
        where = sorted({line.where for line in of} - {""})
        words = textwrap.wrap(claim.says + (f" [{', '.join(where)}]" if where else ""), LABEL)
        room = max(len(of), 2)
        ticks.append(at + (room - 1) / 2)
        labels.append("\n".join(words[:3]))
        for i, line in enumerate(of):
            _comparison(axes, line.verdict, at + i + (room - len(of)) / 2)
        at += room
        axes.axhline(at - 0.5, color="#DDDDDD", linewidth=0.4, zorder=0)

    axes.set_yticks(ticks, labels, fontsize=6.5)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(at - 0.5, -0.5)
    axes.set_xlabel("difference in best test accuracy (points), 95 % interval")
    axes.grid(axis="y", visible=False)
    _legend(figure, axes, lines)


def _comparison(axes, v: Verdict, y: float) -> None:
    """The interval, the slides' cross and random's diamond of one comparison."""
    e = v.estimate
    colour, marker, _ = RULES[v.comparison.rule]
    tested = v.outcome is not Outcome.NOT_TESTABLE
    if e is not None:
        half = None if e.high is None else e.high - e.mean
        axes.errorbar(
            e.mean,
            y,
            xerr=half,
            color=colour if tested else NOT_TESTED,
            marker=marker,
            markersize=4,
            capsize=2,
            elinewidth=1,
            zorder=4,
        )
    for bound in v.comparison.claim.bounds:
        if math.isfinite(bound) and bound != 0:
            axes.plot(bound, y, **BOUND)
    if v.comparison.published is not None:
        axes.plot(v.comparison.published, y, **style.SLIDES)
    # both differences are of the same seeds, so random's own is what is left between them
    if e is not None and v.random is not None and e.seeds == v.random.seeds:
        axes.plot(e.mean - v.random.mean, y, markersize=5, zorder=3, **RANDOM)


def _legend(figure: Figure, axes, lines: list[Line]) -> None:
    """What the marks mean, of those that are there."""
    verdicts = [line.verdict for line in lines]
    handles, labels = [], []
    for rule, (colour, marker, name) in RULES.items():
        if any(v.comparison.rule == rule for v in verdicts):
            handles += axes.plot([], [], color=colour, marker=marker, linestyle="-")
            labels.append(name)
    if any(v.outcome is Outcome.NOT_TESTABLE for v in verdicts):
        handles += axes.plot([], [], color=NOT_TESTED, marker="o", linestyle="-")
        labels.append("not testable with these runs")
    if any(v.comparison.published is not None for v in verdicts):
        handles += axes.plot([], [], **style.SLIDES)
        labels.append("slides")
    if any(set(v.comparison.claim.bounds) - {0.0, math.inf, -math.inf} for v in verdicts):
        handles += axes.plot([], [], **BOUND)
        labels.append("claimed bound")
    if any(v.random is not None for v in verdicts):
        handles += axes.plot([], [], **RANDOM)
        labels.append("random subset")
    style.legend(figure, handles, labels, 6)
