"""Stochastic greedy and greedy by parts: valid, repeatable, worth what they should be.

The memory limit is kept.
"""

import numpy as np
import pytest

import robustfl
from robustfl.selection import weights

R = np.random.default_rng(0)
POINTS, LABELS = R.normal(size=(500, 6)).astype(np.float32), np.arange(500) % 2


def value(picked) -> float:
    return weights.facility_value(POINTS, LABELS, picked.indices)[0]


@pytest.mark.parametrize("ratio", [0.02, 0.3, 1.0])
@pytest.mark.parametrize(
    "options",
    [{"algorithm": "stochastic"}, {"algorithm": "partition", "memory": 4 * 80**2}],
    ids=str,
)
def test_valid_repeatable_and_better_than_random(options, ratio):
    one, two = (
        robustfl.select(POINTS, LABELS, ratio=ratio, seed=3, engine="numba", **options)
        for _ in range(2)
    )
    assert np.array_equal(one.indices, two.indices) and len(np.unique(one.indices)) == len(
        one
    ) == 2 * int(ratio * 250)
    exact = value(robustfl.select(POINTS, LABELS, ratio=ratio))
    random = np.mean(
        [
            value(robustfl.select(POINTS, LABELS, ratio=ratio, method="random", seed=s))
            for s in range(5)
        ]
    )
    assert value(one) >= (1 - 1 / np.e - 0.1) * exact
    assert value(one) <= exact / (1 - 1 / np.e)  # no set of this size is worth more
    assert value(one) > random if ratio < 1 else value(one) == pytest.approx(random)


def test_stochastic_with_all_candidates_is_exact():
    exact = robustfl.select(POINTS, LABELS, ratio=0.1)
    assert np.array_equal(
        robustfl.select(POINTS, LABELS, ratio=0.1, algorithm="stochastic", epsilon=1e-30).indices,
        exact.indices,
    )


def test_a_class_beyond_the_limit_is_selected_by_parts_with_a_message():
    with pytest.warns(
        UserWarning, match="a class of 250 points needs 250,000 bytes; selecting by parts of 100"
    ):
        picked = robustfl.select(POINTS, LABELS, ratio=0.2, memory=4 * 100**2, engine="numba")
    assert len(picked) == 100
    with pytest.raises(
        MemoryError, match=r"at most 100 for algorithm='exact'.*got 250 \(250,000 bytes\)"
    ):
        robustfl.select(
            POINTS, LABELS, ratio=0.2, memory=4 * 100**2, engine="numba", algorithm="exact"
        )


def test_a_set_far_beyond_memory_is_refused_before_anything_is_allocated():
    points = np.broadcast_to(
        np.zeros((1, 1), dtype=np.float32), (4_000_000, 1)
    )  # 64 TB of similarities
    with pytest.raises(MemoryError, match="algorithm='exact'"):
        robustfl.select(points, ratio=0.1, algorithm="exact")
