import numpy as np
import pytest

from robustfl.data.splits import hold_out, stratified


def test_stratified_subset_keeps_the_shares():
    labels = np.repeat([0, 1, 2], [500, 300, 200])
    kept = stratified(labels, 100, np.random.default_rng(0))
    assert np.bincount(labels[kept]).tolist() == [50, 30, 20]
    assert len(set(kept.tolist())) == 100 and stratified(labels, 0, None).tolist() == list(
        range(1000)
    )


@pytest.mark.parametrize("share", [0.0, 0.125, 0.5, 0.999])
def test_held_out_and_kept_points_are_all_points_once(share):
    points = np.arange(5, 205, 2)
    before = points.copy()
    kept, held = hold_out(points, share, np.random.default_rng(0))
    assert len(held) == round(share * 100)
    assert sorted([*kept, *held]) == points.tolist()
    assert (np.diff(kept) > 0).all() and (np.diff(held) > 0).all()
    assert (points == before).all()


def test_a_generator_decides_what_is_held_out():
    first, again, other = (
        hold_out(np.arange(100), 0.1, np.random.default_rng(seed))[1].tolist() for seed in (0, 0, 1)
    )
    assert first == again != other
