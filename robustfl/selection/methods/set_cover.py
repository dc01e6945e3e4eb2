"""Greedy set cover of the whole set by balls of one radius; labels only order the result.

Chvatal, "A greedy heuristic for the set-covering problem", 1979: at most 1 + ln n times the smallest number of balls.
Slides, "Set Cover": order by the number of still uncovered neighbours, weight = density of the ball, radius found so that
the number of clusters is the one wanted.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from robustfl.selection import validation
from robustfl.selection.clusters import host
from robustfl.selection.cover.neighbour_lists import Neighbours
from robustfl.selection.result import Selection

STEPS = 40  # bisection steps at most; float32 radii coincide after about 24


def select(
    points,
    labels,
    ratio: float,
    rng: np.random.Generator,
    *,
    metric: str = "euclidean",
    cover_radius: float | None = None,
) -> Selection:
    """Balls around picks that cover every point, in the order picked, then sorted by class.

    points: (n, d); labels: (n,) or None; rng is not used. weights: points within the radius of the pick, itself included,
    of whatever class; gains: points newly covered; `radius` of the result: the radius used, in units of the metric.
    cover_radius: the radius; None: found by bisection so that the number of picks is round(ratio * n). Where the bisection
    ends without that number (ties, duplicates, the greedy's own jumps), the nearest number met is taken and a UserWarning
    says both.
    Raises ValueError as `checks` says.
    """
    points = host(
        validation.points(points, metric)
    )  # of a CUDA tensor too: the compiled cover runs on a CPU
    labels, ratio = validation.labels(labels, len(points)), validation.ratio(ratio)
    graph = Neighbours(points, metric)
    if cover_radius is None:
        radius, (picks, gains, density) = bisect(graph, max(1, round(ratio * len(points))))
    else:
        radius = validation.radius(cover_radius)
        picks, gains, density = graph.cover(radius)
    order = np.argsort(labels[picks], kind="stable")
    return Selection(
        picks[order], density[order].astype(np.float64), gains[order].astype(np.float64), radius
    )


def bisect(
    graph: Neighbours, wanted: int
) -> tuple[float, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A radius whose greedy cover has `wanted` balls, or the nearest number met, and that cover.

    The number of balls of a greedy cover all but falls with the radius; the search brackets it from above first, so that
    the neighbour lists of the first radius serve all others.
    """
    n, best = len(graph.cloud), None

    def balls(radius: float) -> int:
        nonlocal best
        cover = graph.cover(radius)
        if best is None or abs(len(cover[0]) - wanted) < abs(len(best[1][0]) - wanted):
            best = radius, cover
        return len(cover[0])

    rank = math.ceil(n / wanted)
    high = graph.guess(rank)
    while (count := balls(high)) > wanted:
        rank *= 2
        high = max(graph.guess(rank), float(np.float32(1.1 * high)), 1e-30)
    low = 0.0
    if count < wanted and balls(low) > wanted:
        for _ in range(STEPS):
            middle = float(np.float32(low + (high - low) / 2))
            if not low < middle < high:
                break
            count = balls(middle)
            if count == wanted:
                break
            low, high = (middle, high) if count > wanted else (low, middle)
    radius, cover = best
    if len(cover[0]) != wanted:
        warnings.warn(
            f"set_cover: no radius found for {wanted} balls; {len(cover[0])} of radius {radius:.6g}",
            stacklevel=3,
        )
    return best
