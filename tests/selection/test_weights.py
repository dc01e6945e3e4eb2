"""Ball and cluster weights against naive counts, whatever the inputs' scale and type."""

import numpy as np
import pytest
import torch

import robustfl
from robustfl.selection import weights
from robustfl.selection.distances import ClassPoints

R = np.random.default_rng(0)
POINTS, LABELS = R.normal(size=(80, 4)).astype(np.float32), R.integers(0, 3, 80)
PICKS = np.array([5, 70, 3, 41, 12, 60, 22])
DISTANCES = np.linalg.norm(POINTS[:, None].astype(float) - POINTS[None], axis=2)
SAME = LABELS[:, None] == LABELS[None]


@pytest.mark.parametrize("radius", [0, 0.7, 1.5, 3.0, 50])
def test_ball_is_the_naive_count(radius):
    near = (DISTANCES <= radius) & SAME
    assert np.array_equal(weights.ball(POINTS, LABELS, PICKS, radius), near[PICKS].sum(1))
    assert np.array_equal(weights.within_ball(POINTS, LABELS, PICKS, radius), near[:, PICKS].any(1))


def test_ball_in_multiples_of_the_class_median():
    medians = weights.median_distance(POINTS, LABELS)
    for label, median in medians.items():
        own = np.flatnonzero(LABELS == label)
        assert median == pytest.approx(
            np.median(DISTANCES[np.ix_(own, own)][np.triu_indices(len(own), 1)]), rel=1e-6
        )
    limits = 0.5 * np.array([medians[int(label)] for label in LABELS[PICKS]])
    expected = ((DISTANCES[PICKS] <= limits[:, None]) & SAME[PICKS]).sum(1)
    assert np.array_equal(weights.ball(POINTS, LABELS, PICKS, 0.5, "median"), expected)
    assert np.array_equal(weights.ball(1000 * POINTS, LABELS, PICKS, 0.5, "median"), expected)


def test_the_radius_is_inclusive_and_duplicates_are_at_distance_0():
    lattice = (
        np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0)), axis=-1)
        .reshape(-1, 2)
        .astype(np.float32)
    )
    assert weights.ball(lattice, None, [12], 1.0) == [5] and weights.ball(
        lattice, None, [12], 2**0.5
    ) == [9]
    same = np.repeat(R.normal(size=(3, 50)).astype(np.float32) * 1e4, 7, axis=0)
    assert np.array_equal(weights.ball(same, None, [0, 7, 14], 0.0), [7, 7, 7])


def test_assign_takes_the_nearest_pick_of_the_class_and_the_lowest_of_equals():
    owner = weights.assign(POINTS, LABELS, PICKS)
    reach = np.where(SAME[:, PICKS], DISTANCES[:, PICKS], np.inf)
    assert np.array_equal(owner, reach.argmin(1)) and np.array_equal(
        owner[PICKS], np.arange(len(PICKS))
    )
    assert np.array_equal(weights.cluster(POINTS, LABELS, PICKS), np.bincount(owner))
    twins = np.array([[0.0], [0.0], [0.0], [9.0]])
    assert weights.assign(twins, None, [3, 2, 1]).tolist() == [
        1,
        2,
        1,
        0,
    ]  # 0 and 1 both fit; a pick is its own
    assert weights.assign(POINTS, LABELS, PICKS[:1])[LABELS != LABELS[5]].max() == -1


def test_facility_value_is_the_definition():
    value, whole = weights.facility_value(POINTS, LABELS, PICKS)
    expected = total = 0.0
    for label in range(3):
        own, picks = np.flatnonzero(LABELS == label), PICKS[LABELS[PICKS] == label]
        top = DISTANCES[np.ix_(own, own)].max()
        expected += (top - DISTANCES[np.ix_(own, picks)]).max(1).sum()
        total += top * len(own)
    assert value == pytest.approx(expected, rel=1e-6) and whole == pytest.approx(total, rel=1e-6)
    everything = weights.facility_value(POINTS, LABELS, np.arange(80))
    assert everything[0] == everything[1] == pytest.approx(whole)


def test_facility_value_of_tensors_is_reduced_where_they_are():
    """As for points on a GPU; the public function would view these tensors as arrays."""
    for metric in ("euclidean", "cosine"):
        for picks in (PICKS[:4], np.empty(0, dtype=np.int64)):
            ours, theirs = (
                weights._class_value(ClassPoints(p, metric), picks)
                for p in (torch.from_numpy(POINTS), POINTS)
            )
            assert ours == pytest.approx(theirs, rel=1e-6)


def test_sampled_representatives_stay_in_their_cluster_and_are_uniform():
    picked = robustfl.select(POINTS, LABELS, ratio=0.1)
    owner, seen = weights.assign(POINTS, LABELS, picked.indices), np.zeros(80)
    r = np.random.default_rng(1)
    for _ in range(400):
        drawn = weights.sample_representatives(POINTS, LABELS, picked, r)
        assert np.array_equal(owner[drawn.indices], np.arange(len(picked)))
        assert drawn.weights is picked.weights and drawn.gains is picked.gains
        seen[drawn.indices] += 1
    expected = 400 / picked.weights[owner]
    assert (np.abs(seen - expected) < 5 * np.sqrt(expected)).all()


def test_tensors_give_the_same():
    as_tensors = torch.from_numpy(POINTS), torch.from_numpy(LABELS), torch.from_numpy(PICKS)
    assert np.array_equal(weights.ball(*as_tensors, 1.5), weights.ball(POINTS, LABELS, PICKS, 1.5))
    assert weights.facility_value(*as_tensors) == weights.facility_value(POINTS, LABELS, PICKS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((POINTS, LABELS, [0, 80], 1.0), r"indices must lie in \[0, 80\); got 0 to 80"),
        ((POINTS, LABELS, [3, 3], 1.0), "indices must be unique; got 1 repeats"),
        ((POINTS, LABELS, [0.5], 1.0), "indices must be a .* array of integers"),
        ((POINTS, LABELS, PICKS, -1.0), "radius must be a finite number >= 0; got -1.0"),
        (
            (POINTS, LABELS, PICKS, 1.0, "meters"),
            "unit must be one of absolute, median; got 'meters'",
        ),
        ((POINTS, LABELS[1:], PICKS, 1.0), r"labels must have shape \(80,\)"),
        ((POINTS * np.nan, LABELS, PICKS, 1.0), "points must be finite"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        weights.ball(*arguments)
