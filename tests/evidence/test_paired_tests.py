"""Intervals and decisions on planted differences, and how often they are wrong."""

import math

import numpy as np
import pytest

from robustfl.evidence import paired_tests
from robustfl.evidence.paired_tests import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED


def test_interval_is_student_s():
    e = paired_tests.estimate([1.0, 2.0, 3.0])
    half = 4.302652729911275 / math.sqrt(
        3
    )  # t(0.975, 2 degrees) from a printed table, standard deviation 1
    assert (e.mean, e.sd, e.seeds) == (2.0, 1.0, 3)
    assert e.low == pytest.approx(2 - half) and e.high == pytest.approx(2 + half)


@pytest.mark.parametrize(
    "truth, verdict", [(3.0, REPRODUCED), (-3.0, NOT_REPRODUCED), (0.0, INCONCLUSIVE)]
)
def test_planted_differences_are_found(truth, verdict):
    rng = np.random.default_rng(0)
    found = [
        paired_tests.decide(paired_tests.estimate(rng.normal(truth, 0.5, 5)), 0, math.inf)
        for _ in range(200)
    ]
    assert found.count(verdict) >= 185


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_false_positive_rate_is_the_level_s(seeds):
    """True difference on the bound.

    Each wrong verdict in 2.5 % of 8,000 studies, give or take four standard errors.
    """
    rng = np.random.default_rng(seeds)
    found = [
        paired_tests.decide(paired_tests.estimate(x), 0, math.inf)
        for x in rng.normal(0, 1.3, (8000, seeds))
    ]
    for wrong in (REPRODUCED, NOT_REPRODUCED):
        assert abs(found.count(wrong) / 8000 - 0.025) < 4 * math.sqrt(0.025 * 0.975 / 8000)


def test_false_positive_rate_of_rounded_accuracies():
    """Equal means, little noise, 200 test images.

    Agreement by rounding must not look like certainty.
    """
    rng = np.random.default_rng(1)
    step, wrong = 0.5, 0
    for _ in range(3000):
        a, b = (np.round(rng.normal(50.1, 0.3, 3) / step) * step for _ in range(2))
        wrong += (
            paired_tests.decide(paired_tests.estimate(a - b, resolution=step), 0, math.inf)
            != INCONCLUSIVE
        )
    assert wrong / 3000 < 0.05


def test_tolerance_claims_are_two_sided():
    inside, outside = (
        paired_tests.estimate([0.1, 0.0, -0.1]),
        paired_tests.estimate([2.9, 3.0, 3.1]),
    )
    wide = paired_tests.estimate([-2.0, 0.0, 2.0])
    found = [paired_tests.decide(e, -0.5, 0.5) for e in (inside, outside, wide)]
    assert found == [REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE]


def test_one_seed_decides_only_what_is_exact():
    assert paired_tests.decide(paired_tests.estimate([5.0]), 0, math.inf) == INCONCLUSIVE
    assert paired_tests.decide(paired_tests.estimate([0.8], exact=True), -math.inf, 1) == REPRODUCED
    assert (
        paired_tests.decide(paired_tests.estimate([1.0], exact=True), -math.inf, 1)
        == NOT_REPRODUCED
    )
    assert (
        paired_tests.estimate([0.8, 0.9], exact=True).low < 0.8
    )  # it did vary, so it is treated as what varies


def test_decided_is_p_below_five_per_cent():
    rng = np.random.default_rng(2)
    for x in rng.normal(0.8, 1, (300, 4)):
        e = paired_tests.estimate(x)
        assert (paired_tests.p_value(e, 0.0) < 0.05) == (
            paired_tests.decide(e, 0, math.inf) != INCONCLUSIVE
        )


@pytest.mark.parametrize("effect, seeds", [(2.0, 5), (1.0, 10), (0.5, 34), (0.1, 787)])
def test_seeds_needed_are_cohen_s(effect, seeds):
    """Paired t test, two-sided 5 %, power 0.8: the sample sizes of G*Power's tables."""
    e = paired_tests.Estimate(effect, 1.0, effect - 3, effect + 3, 3)
    assert paired_tests.seeds_needed(e, 0.0) == seeds
    assert (
        paired_tests.seeds_needed(paired_tests.Estimate(0.0, 1.0, -2, 2, 3), 0.0)
        == paired_tests.MOST_SEEDS
    )


def test_seeds_needed_suffice():
    rng = np.random.default_rng(3)
    n = paired_tests.seeds_needed(paired_tests.Estimate(1.0, 1.2, -1, 3, 3), 0.0)
    decided = [
        paired_tests.decide(paired_tests.estimate(x), 0, math.inf) == REPRODUCED
        for x in rng.normal(1.0, 1.2, (2000, n))
    ]
    assert 0.77 < np.mean(decided) < 0.88


def test_seed_floor_pools_within_rows():
    assert paired_tests.seed_floor([[1.0, 3.0], [11.0, 13.0]]) == pytest.approx(math.sqrt(2))
    assert paired_tests.seed_floor([[1.0], [2.0]]) is None


def test_holm_by_hand():
    assert paired_tests.holm([0.01, None, 0.04, 0.03]) == [
        pytest.approx(0.03),
        None,
        pytest.approx(0.06),
        pytest.approx(0.06),
    ]


@pytest.mark.parametrize("bad", [[], [1.0, float("nan")]])
def test_bad_samples_are_refused(bad):
    with pytest.raises(ValueError, match="values must be finite and at least one"):
        paired_tests.estimate(bad)
