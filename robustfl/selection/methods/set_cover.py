"""Greedy set cover of the whole set by balls of one radius; labels only order the result.

Chvatal, "A greedy heuristic for the set-covering problem", 1979: at most 1 + ln n times the
smallest number of balls. Slides, "Set Cover": order by the number of still uncovered neighbours,
weight = density of the ball, radius found so that the number of clusters is the one wanted.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from robustfl.selection import per_class, validation
from robustfl.selection.cover.neighbour_lists import Cover, Neighbours
from robustfl.selection.outer import host
from robustfl.selection.result import Selection

STEPS = 40  # bisection steps at most; float32 radii coincide after about 24


def select(
    points,
    labels,
    ratio: float,
    rng: np.random.Generator | None,
    *,
    metric: str = "euclidean",
    cover_radius: float | None = None,
) -> Selection:
    """Balls around picks that cover every point, in the order picked, then sorted by class.

    points: (n, d), or OuterProducts; labels: (n,) or None; rng is not used.
    weights: points within the radius of the pick, itself included, of whatever class.
    gains: points newly covered. `radius` of the result: the radius used, in units of the metric.
    cover_radius: the radius; None: found by bisection so that the number of picks is
      ratio * n, rounded. Where the bisection ends without that number (ties, duplicates, the
      greedy's own jumps), the nearest number met is taken and a UserWarning says both.
    Raises ValueError as `per_class.select` does, and for a cover_radius that is negative or not
    finite.
    """
    validation.OPTIONS["cover_radius"](cover_radius)
    points, labels, ratio = per_class.check(points, labels, ratio, metric)
    # the points of a CUDA tensor too come to the CPU, where the compiled cover runs
    graph = Neighbours(host(points), metric)
    if cover_radius is None:
        radius, cover = bisect(graph, validation.nearest_count(ratio, len(points)))
    else:
        radius = validation.radius(cover_radius, "cover_radius")
        cover = graph.cover(radius)
    order = np.argsort(labels[cover.picks], kind="stable")
    return Selection(
        cover.picks[order],
        cover.density[order].astype(np.float64),
        cover.gains[order].astype(np.float64),
        radius,
    )


def bisect(graph: Neighbours, wanted: int) -> tuple[float, Cover]:
    """A radius whose greedy cover has `wanted` balls, or the nearest number met, and that cover.

    The number of balls of a greedy cover all but falls with the radius; the search brackets it from
    above first, so that the neighbour lists of the first radius serve all others.
    """
    covers: dict[float, Cover] = {}

    def balls(radius: float) -> int:
        covers[radius] = graph.cover(radius)
        return len(covers[radius].picks)

    # a radius with few enough balls
    rank = math.ceil(len(graph.cloud) / wanted)
    high = graph.guess(rank)
    while balls(high) > wanted:
        rank *= 2
        high = max(graph.guess(rank), float(np.float32(1.1 * high)), 1e-30)

    # halve the interval between it and 0 until the number is met or float32 has no radius between
    low = 0.0
    if len(covers[high].picks) < wanted and balls(low) > wanted:
        for _ in range(STEPS):
            middle = float(np.float32(low + (high - low) / 2))
            if not low < middle < high:
                break
            count = balls(middle)
            if count == wanted:
                break
            if count > wanted:
                low = middle
            else:
                high = middle

    # of equally near numbers, the one met first
    radius = min(covers, key=lambda tried: abs(len(covers[tried].picks) - wanted))
    met = len(covers[radius].picks)
    if met != wanted:
        warnings.warn(
            f"set_cover: no radius found for {wanted} balls; {met} of radius {radius:.6g}",
            stacklevel=3,
        )
    return radius, covers[radius]
