"""Facility location against oracles: naive greedy, brute force, and its own mathematics."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import robustfl
from robustfl.selection import weights
from robustfl.selection.distances import ClassPoints
from robustfl.selection.greedy import fixed_point, numba_engine, numpy_engine, torch_engine

KINDS = ("mixture", "uniform", "duplicates", "equal", "one", "scaled", "lattice")


def instance(kind: str, seed: int) -> np.ndarray:
    r = np.random.default_rng(seed)
    n, d = int(r.integers(2, 40)), int(r.integers(1, 6))
    points = r.normal(size=(n, d))
    if kind == "mixture":
        points = 0.1 * points + 3 * r.normal(size=(4, d))[r.integers(0, 4, n)]
    elif kind == "uniform":
        points = r.random((n, 2))
    elif kind == "duplicates":
        points = points[r.integers(0, max(1, n // 4), n)]
    elif kind == "equal":
        points = np.repeat(points[:1], n, axis=0)
    elif kind == "one":
        points = points[:1]
    elif kind == "scaled":
        points = points * 10.0 ** r.uniform(-6, 6, size=(1, d)) + 10.0 ** r.uniform(-6, 6)
    elif kind == "lattice":
        points = r.integers(0, 3, size=(n, 2))
    return points.astype(np.float32)


def naive(similarity: np.ndarray, k: int) -> tuple[list[int], list[int]]:
    """Greedy in Python integers, from the definition of F and nothing else.

    Ties: larger gain, then lower index.
    """
    rows = (similarity - similarity.min()).tolist()
    picks, gains, best = [], [], [0] * len(rows)
    for _ in range(k):
        gain, pick = max(
            (sum(max(s, b) - b for s, b in zip(rows[j], best)), -j)
            for j in range(len(rows))
            if j not in picks
        )
        picks.append(-pick), gains.append(gain)
        best = [max(s, b) for s, b in zip(rows[-pick], best)]
    return picks, gains


@pytest.mark.parametrize("kind", KINDS)
def test_every_engine_makes_the_naive_picks(kind):
    """7 kinds x 40 seeds = 280 instances, up to k = n, three engines."""
    for seed in range(40):
        points = instance(kind, seed)
        cloud = ClassPoints(points)
        similarity, step = fixed_point.similarity(cloud.matrix(), cloud.max_distance)
        compiled, same_step = numba_engine.similarity(
            cloud, np.empty(len(points) ** 2, dtype=np.int32)
        )
        assert np.array_equal(compiled, similarity) and same_step == step
        assert (
            np.array_equal(similarity, similarity.T)
            and 0 <= similarity.min()
            and similarity.max() <= 2**fixed_point.BITS
        )
        k = len(points) if seed % 2 else max(1, len(points) // 3)
        expected = naive(similarity, k)
        for greedy, matrix in (
            (numpy_engine.greedy, similarity),
            (numba_engine.greedy, compiled),
            (torch_engine.greedy, torch.from_numpy(similarity)),
        ):
            picks, gains = greedy(matrix, k)
            assert (picks.tolist(), gains.tolist()) == expected, (kind, seed, greedy.__module__)


@pytest.mark.parametrize("engine", ["numpy", "torch"])
def test_engines_agree_beyond_a_block_and_a_tile(engine):
    points = (
        np.random.default_rng(3).normal(size=(1100, 8)).astype(np.float32)
    )  # several blocks of rows, tiles of columns
    labels = (np.arange(1100) > 1050).astype(int)
    one, two = (
        robustfl.select(points, labels, ratio=0.2, engine=name) for name in ("numba", engine)
    )
    for name in ("indices", "weights", "gains"):
        assert np.array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("kind", KINDS)
def test_similarities_are_the_true_distances_on_the_grid(kind):
    for seed in range(20):
        points = instance(kind, seed)
        cloud = ClassPoints(points)
        similarity, step = fixed_point.similarity(cloud.matrix(), cloud.max_distance)
        true = np.linalg.norm(points[:, None].astype(float) - points[None], axis=2)
        assert (
            np.abs((similarity.max() - similarity) * step - true).max()
            <= step * 0.51 + 2e-7 * true.max()
        )
        assert (
            step <= max(true.max() * 2.0**-19, 1e-30) or not true.max()
        )  # 20 bits of the largest distance or more


def test_at_least_1_minus_1_over_e_of_the_best_set():
    for seed in range(60):
        points = instance(KINDS[seed % len(KINDS)], 100 + seed)[:10]
        n = len(points)
        k = 1 + seed % n
        labels = np.zeros(n, dtype=int)
        greedy = weights.facility_value(
            points, labels, robustfl.select(points, ratio=(k + 0.5) / n if k < n else 1.0).indices
        )[0]
        best = max(
            weights.facility_value(points, labels, np.array(s))[0]
            for s in itertools.combinations(range(n), k)
        )
        assert greedy >= (1 - 1 / math.e) * best


random_points = st.builds(
    lambda seed, n, d: np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32),
    st.integers(0, 10**6),
    st.integers(2, 60),
    st.integers(1, 8),
)


@settings(max_examples=60, deadline=None)
@given(random_points, st.floats(0.01, 1))
def test_gains_fall_and_sum_to_f(points, ratio):
    picked = robustfl.select(points, ratio=ratio)
    assert (np.diff(picked.gains) <= 0).all() and (picked.gains >= 0).all()
    value, whole = weights.facility_value(points, None, picked.indices)
    assert picked.gains.sum() == pytest.approx(
        value, rel=1e-5, abs=1e-6 * whole
    ) and value <= whole * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(random_points, st.integers(0, 10**6))
def test_permuting_points_permutes_picks_up_to_the_tie_rule(points, seed):
    """To the pick, until the first step at which two candidates gain the same.

    From there the order of points decides.
    """
    cloud, k = ClassPoints(points), (len(points) + 1) // 2
    similarity, step = fixed_point.similarity(cloud.matrix(), cloud.max_distance)
    order = np.random.default_rng(seed).permutation(len(points))
    picks, gains = numba_engine.greedy(similarity, k)
    moved, same = numba_engine.greedy(np.ascontiguousarray(similarity[np.ix_(order, order)]), k)
    best, unique = np.zeros(len(points), dtype=np.int64), 0
    for pick in picks:
        gain = np.maximum(similarity - best, 0).sum(1)
        if (gain == gain.max()).sum() > 1:
            break
        best, unique = np.maximum(best, similarity[pick]), unique + 1
    assert np.array_equal(order[moved][:unique], picks[:unique]) and np.array_equal(
        same[:unique], gains[:unique]
    )
    # and from points on: the matrix of permuted points is the permuted matrix, within two units of
    # the grid
    other = ClassPoints(points[order])
    again = (other.max_distance / cloud.max_distance - 1) if cloud.max_distance else 0.0
    assert abs(again) < 1e-9
    if fixed_point.quantum(other.max_distance)[0] == step:
        levels = fixed_point.similarity(other.matrix(), other.max_distance)[0]
        assert np.abs(levels - similarity[np.ix_(order, order)]).max() <= 2


@settings(max_examples=40, deadline=None)
@given(random_points)
def test_f_is_monotone_and_a_prefix_is_the_smaller_selection(points):
    whole = robustfl.select(points, ratio=1.0)
    part = robustfl.select(points, ratio=0.5)
    assert np.array_equal(whole.indices[: len(part)], part.indices)
    values = [
        weights.facility_value(points, None, whole.indices[:k])[0]
        for k in range(1, len(points) + 1)
    ]
    assert (np.diff(values) >= 0).all()
