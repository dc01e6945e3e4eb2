"""Set cover: covers, in the naive greedy's order, by every way it counts.

The bisection meets the number of balls.
"""

import numpy as np
import pytest

import robustfl
from robustfl.selection.cover.neighbour_lists import Neighbours


def naive(points: np.ndarray, radius: float) -> tuple[list[int], list[int], list[int]]:
    """Greedy cover from the definition. Ties: lower index."""
    distances = np.linalg.norm(points[:, None].astype(float) - points[None], axis=2).astype(
        np.float32
    )
    near = distances <= np.float32(radius)
    left, picks, gains = np.ones(len(points), dtype=bool), [], []
    while left.any():
        counts = (near & left).sum(1)
        picks.append(int(counts.argmax())), gains.append(int(counts.max()))
        left &= ~near[picks[-1]]
    return picks, gains, near.sum(1)[picks].tolist()


def ways(points: np.ndarray) -> dict[str, Neighbours]:
    """Compiled lists, plain lists, and counts without lists, compiled and plain."""
    graphs = {
        "compiled": Neighbours(points),
        "plain": Neighbours(points),
        "counts": Neighbours(points, max_pairs=1),
        "plain counts": Neighbours(points, max_pairs=1),
    }
    graphs["plain"].use_numba = graphs["plain counts"].use_numba = False
    return graphs


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("radius", [0.0, 0.3, 1.0, 2.0, 9.0])
def test_every_way_makes_the_naive_cover(seed, radius):
    r = np.random.default_rng(seed)
    points = r.normal(size=(90, 3)).astype(np.float32)
    if seed == 1:
        points = points[r.integers(0, 20, 90)]  # duplicates: at radius 0 one ball holds them all
    if seed == 2:
        points = r.integers(0, 4, size=(90, 2)).astype(
            np.float32
        )  # a lattice: distances equal to the radius
    expected = naive(points, radius)
    for name, graph in ways(points).items():
        assert tuple(part.tolist() for part in graph.cover(radius)) == expected, name


def test_lists_serve_smaller_radii_and_grow_for_larger_ones():
    points = (
        np.random.default_rng(0).normal(size=(600, 4)).astype(np.float32)
    )  # more than 256 points, several groups
    for radius in (1.0, 0.4, 2.0, 0.0, 1.5):
        graphs = ways(points)
        graphs["compiled"].cover(0.7)
        expected = naive(points, radius)
        for name, graph in graphs.items():
            assert tuple(part.tolist() for part in graph.cover(radius)) == expected, (name, radius)


@pytest.mark.parametrize("wanted", [1, 6, 60, 300, 500, 590, 600])
def test_bisection_meets_the_number_of_balls(wanted):
    points = np.random.default_rng(1).normal(size=(600, 4)).astype(np.float32)
    labels = np.arange(600) % 7
    picked = robustfl.select(points, labels, method="set_cover", ratio=wanted / 600)
    assert len(picked) == wanted and picked.gains.sum() == 600
    near = np.linalg.norm(points[:, None] - points[picked.indices], axis=2).min(1)
    assert near.max() <= picked.radius * (1 + 1e-6)
    again = robustfl.select(points, labels, method="set_cover", ratio=1, cover_radius=picked.radius)
    assert np.array_equal(again.indices, picked.indices) and np.array_equal(
        again.weights, picked.weights
    )
    for label in range(7):
        assert (np.diff(picked.gains[labels[picked.indices] == label]) <= 0).all()


def test_says_when_the_number_cannot_be_met():
    points = np.repeat(np.eye(3), 10, axis=0)
    with pytest.warns(UserWarning, match="no radius found for 15 balls; 3 of radius"):
        assert len(robustfl.select(points, method="set_cover", ratio=0.5)) == 3


def test_cosine_and_precomputed():
    points = np.random.default_rng(2).normal(size=(50, 3))
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    one = robustfl.select(points, method="set_cover", ratio=1, metric="cosine", cover_radius=0.2)
    two = robustfl.select(
        np.round(unit @ unit.T, 12),
        method="set_cover",
        ratio=1,
        metric="precomputed",
        cover_radius=0.2,
    )
    assert np.array_equal(one.indices, two.indices) and np.array_equal(one.weights, two.weights)
