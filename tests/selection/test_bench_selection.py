"""pytest-benchmark cases of selection; times are never asserted.

Run `pytest tests/selection/test_bench_selection.py --benchmark-only`.
"""

import numpy as np
import pytest

import robustfl
from robustfl.selection import weights
from robustfl.selection.distances import ClassPoints
from robustfl.selection.greedy import numba_engine

POINTS = np.random.default_rng(0).normal(size=(2500, 64)).astype(np.float32)


def test_greedy_alone(benchmark):
    similarity, _ = numba_engine.similarity(ClassPoints(POINTS), np.empty(2500**2, dtype=np.int32))
    picks, _ = benchmark(numba_engine.greedy, similarity, 1000)
    assert len(picks) == 1000


@pytest.mark.parametrize("method", ["facility_location", "centrality", "random", "set_cover"])
def test_select(benchmark, method):
    picked = benchmark(robustfl.select, POINTS, method=method, ratio=0.4)
    assert len(picked) == 1000


def test_ball_weights(benchmark):
    assert len(benchmark(weights.ball, POINTS, None, np.arange(2500), 10.0)) == 2500
