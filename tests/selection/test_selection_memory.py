"""Where a limit leaves less memory than the machine has, a slower way gives an answer."""

import os
import subprocess
import sys

import numpy as np
import pytest

import robustfl
from robustfl import machine
from robustfl.selection.cover.neighbour_lists import Neighbours
from robustfl.selection.distances import ClassPoints
from robustfl.selection.greedy import dispatch, fixed_point
from robustfl.selection.methods import centrality

POINTS = np.random.default_rng(0).normal(size=(600, 5))

# the limit comes after the imports and a first selection: what they take is no part of the trial
LIMITED = """
import resource, sys, warnings
import numpy as np, robustfl
method, room = sys.argv[1], int(sys.argv[2])
points = np.random.default_rng(0).normal(size=(9000, 4)).astype("f4")
robustfl.select(points[:50], ratio=0.2, method=method)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    picked = robustfl.select(points, ratio=0.002, method=method)
print(len(picked), *[w.message for w in told if "by parts" in str(w.message)])
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["facility_location", "centrality", "set_cover"])
def test_a_process_with_little_room_selects(method):
    # the matrix of a class would take 324 MB
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, method, str(200 * 2**20)],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("18")
    assert ("selecting by parts of" in done.stdout) == (method == "facility_location")


def test_auto_goes_by_parts_when_memory_turns_out_short(monkeypatch):
    """Free memory is a guess: what another process takes meanwhile is missing."""
    whole = dispatch.exact

    def short(clouds, wanted, engine):
        if max(map(len, clouds), default=0) > 400:
            raise MemoryError
        return whole(clouds, wanted, engine)

    monkeypatch.setattr(dispatch, "exact", short)
    with pytest.warns(UserWarning, match="a class of 600 points .* selecting by parts of 300"):
        picked = robustfl.select(POINTS, ratio=0.1)
    assert len(set(picked.indices)) == 60 and picked.weights.sum() == 600
    with pytest.raises(MemoryError):
        robustfl.select(POINTS, ratio=0.1, algorithm="exact")


def test_nothing_free_is_parts_of_the_least_size(monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 0)
    with pytest.warns(UserWarning, match="selecting by parts of 256"):
        assert len(robustfl.select(POINTS, ratio=0.1)) == 60


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine", "precomputed"])
@pytest.mark.parametrize("engine", ["numba", "numpy"])
@pytest.mark.parametrize("m", [1, 2, 400, 1500])  # the last in more than one block
def test_row_sums_by_blocks_are_those_of_the_matrix(metric, engine, m):
    points = np.random.default_rng(1).normal(size=(m, 6)).astype(np.float32)
    cloud = ClassPoints(points @ points.T if metric == "precomputed" else points, metric)
    [(similarity, step)] = dispatch.similarities([cloud], engine)
    total, same_step = centrality.row_sums_by_blocks(cloud)
    assert same_step == step
    assert np.array_equal(total, fixed_point.column_sums(similarity) - m * int(similarity.min()))


def test_centrality_without_room_for_the_matrix_picks_the_same(monkeypatch):
    expected = robustfl.select(POINTS, ratio=0.1, method="centrality")
    monkeypatch.setattr(machine, "free_memory", lambda: 0)
    picked = robustfl.select(POINTS, ratio=0.1, method="centrality")
    assert np.array_equal(picked.indices, expected.indices)
    assert np.array_equal(picked.gains, expected.gains)


def test_set_cover_without_room_for_lists_picks_the_same(monkeypatch):
    expected = Neighbours(POINTS).cover(2.0)
    monkeypatch.setattr(machine, "free_memory", lambda: 0)
    by_counts = Neighbours(POINTS)
    covers = [by_counts.cover(2.0)]
    assert by_counts.lists is None

    # and where the allocation itself fails
    def short(*arguments):
        raise MemoryError

    monkeypatch.undo()
    failing = Neighbours(POINTS)
    monkeypatch.setattr(failing, "_list_by_numba", short)
    covers.append(failing.cover(2.0))
    for cover in covers:
        for part, whole in zip(cover, expected):
            assert np.array_equal(part, whole)
