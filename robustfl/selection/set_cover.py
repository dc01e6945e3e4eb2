"""Greedy set cover of the whole set by balls of one radius; labels only order the result.

Chvatal, "A greedy heuristic for the set-covering problem", 1979: at most 1 + ln n times the smallest number of balls.
Slides, "Set Cover": order by the number of still uncovered neighbours, weight = density of the ball, radius found so that
the number of clusters is the one wanted.
"""

from __future__ import annotations

import warnings

import numpy as np

from robustfl.selection import checks
from robustfl.selection.distances import classes
from robustfl.selection.neighbours import Neighbours
from robustfl.selection.result import Selection

STEPS = 40  # bisection steps at most; float32 radii coincide after about 30


def select(points, labels, ratio: float, rng: np.random.Generator, *, metric: str = "euclidean",
           cover_radius: float | None = None) -> Selection:  # fmt: skip
    """Balls around picks that cover every point, in the order picked, then sorted by class.

    points: (n, d); labels: (n,) or None; rng is not used. weights: points within the radius of the pick, itself included,
    of whatever class; gains: points newly covered; `radius` of the result: the radius used, in units of the metric.
    cover_radius: the radius; None: found by bisection so that the number of picks is round(ratio * n). Where no radius
    meets that number (ties, duplicates), the nearest number found is taken and a UserWarning says both.
    Raises ValueError as `checks` says.
    """
    points = checks.points(points, metric)
    labels, ratio = checks.labels(labels, len(points)), checks.ratio(ratio)
    graph = Neighbours(points, metric)
    if cover_radius is None:
        radius, (picks, gains) = bisect(graph, max(1, round(ratio * len(points))))
    else:
        radius = checks.radius(cover_radius)
        picks, gains = graph.cover(radius)
    density = graph.density(picks, radius)
    order = np.argsort(labels[picks], kind="stable")
    return Selection(picks[order], density[order].astype(np.float64), gains[order].astype(np.float64), radius)


def bisect(graph: Neighbours, wanted: int) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    """A radius whose greedy cover has `wanted` balls, or the nearest number met, and that cover (picks, gains)."""
    low, high = 0.0, graph.guess(wanted)
    best = (low, graph.cover(low))
    while len(best[1][0]) != wanted:
        cover = graph.cover(high)
        best = min(best, (high, cover), key=lambda found: abs(len(found[1][0]) - wanted))
        if len(cover[0]) <= wanted:
            break
        low, high = high, max(2 * high, 1e-30)
    for _ in range(STEPS):
        middle = float(np.float32(low + (high - low) / 2))
        if len(best[1][0]) == wanted or not low < middle < high:
            break
        cover = graph.cover(middle)
        best = min(best, (middle, cover), key=lambda found: abs(len(found[1][0]) - wanted))
        low, high = (middle, high) if len(cover[0]) > wanted else (low, middle)
    if len(best[1][0]) != wanted:
        found = len(best[1][0])
        warnings.warn(f"set_cover: no radius gives {wanted} balls; {found} balls of radius {best[0]:.6g}", stacklevel=3)
    return best
