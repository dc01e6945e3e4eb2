"""Intervals and decisions on planted differences, and how often they are wrong."""

import gc
import importlib
import math
from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats
from scipy.special import polygamma
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

from robustfl.evidence import paired_tests
from robustfl.evidence.paired_tests import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    REPRODUCED,
    Estimate,
    Prior,
)


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


def test_interval_is_scipy_s():
    rng = np.random.default_rng(4)
    for seeds in (2, 3, 5, 10):
        x = rng.normal(1, 2, seeds)
        e = paired_tests.estimate(x)
        theirs = stats.ttest_1samp(x, 0.5)
        assert (e.low, e.high) == pytest.approx(theirs.confidence_interval(0.95))
        assert paired_tests.p_value(e, 0.5) == pytest.approx(theirs.pvalue)
        assert e.df == seeds - 1


def test_p_has_the_degrees_of_freedom_of_the_estimate():
    e = Estimate(1.0, 1.2, -1, 3, seeds=4, df=7.5)
    assert paired_tests.p_value(e, 0.0) == pytest.approx(2 * stats.t.sf(2 / 1.2, 7.5))


# variances drawn together


@pytest.mark.parametrize(
    "variances, df, prior, posterior",
    [
        (
            [0.25, 0.5, 0.81, 1.44, 2.25, 4, 9],
            [4] * 7,
            Prior(3.15538757308023, 1.31498453464653),
            [
                0.719637588715507,
                0.859392422368707,
                1.032688416098674,
                1.384870596904738,
                1.837676257941105,
                2.815960093513504,
                5.611056766577499,
            ],
        ),
        (
            [0.05, 0.5, 0.81, 1.44, 2.25, 9, 30],
            [2, 4, 4, 9, 9, 4, 3],
            Prior(1.27543016068058, 0.76665510474073),
            [
                0.329060609004743,
                0.564468669421621,
                0.799520591678522,
                1.356421563426100,
                2.065880913156833,
                7.009440731304380,
                21.279219078377807,
            ],
        ),
        ([1.0, 1.2, 0.9, 1.1, 1.05], [4] * 5, Prior(math.inf, 1.05), [1.05] * 5),
    ],
)
def test_variances_are_drawn_together_as_by_limma(variances, df, prior, posterior):
    """What squeezeVar(variances, df) of limma 3.54.1 (R, Bioconductor 3.16) prints."""
    fitted = paired_tests.fit_prior(list(zip(variances, df)))
    assert (fitted.df, fitted.variance) == pytest.approx((prior.df, prior.variance), rel=1e-8)

    estimates = [Estimate(0.0, math.sqrt(v), -9, 9, d + 1, d) for v, d in zip(variances, df)]
    drawn = [paired_tests.moderate(e, fitted) for e in estimates]
    assert [e.sd**2 for e in drawn] == pytest.approx(posterior, rel=1e-8)
    assert [e.df for e in drawn] == pytest.approx([d + prior.df for d in df])


@pytest.mark.parametrize("x", [1e-9, 1e-4, 0.01, 0.5, 1.0, 20.0, 1e5, 1e9])
def test_trigamma_is_inverted(x):
    assert polygamma(1, paired_tests.trigamma_inverse(x)) == pytest.approx(x, rel=1e-7)


def test_a_planted_prior_is_found():
    rng = np.random.default_rng(5)
    true = 4 * 1.3 / rng.chisquare(4, 20_000)
    df = rng.choice([2, 4, 9], 20_000)
    sampled = true * rng.chisquare(df) / df
    prior = paired_tests.fit_prior(list(zip(sampled, df)))
    assert prior.df == pytest.approx(4, rel=0.05)
    assert prior.variance == pytest.approx(1.3, rel=0.03)


def test_equal_true_variances_are_pooled():
    prior = paired_tests.fit_prior([(1.0, 2), (1.1, 2), (1.3, 8)])
    assert prior == Prior(math.inf, pytest.approx((2 * 1.0 + 2 * 1.1 + 8 * 1.3) / 12))


def test_a_prior_needs_three_variances():
    usable = [(1.0, 4), (0.1, 4), (9.0, 4)]
    assert paired_tests.fit_prior([]) is None
    assert paired_tests.fit_prior([*usable[:2], (0.0, 4), (2.0, 0)]) is None
    assert paired_tests.fit_prior([*usable, (0.0, 4), (2.0, 0)]) == paired_tests.fit_prior(usable)


@pytest.mark.parametrize("bad", [(-1.0, 4), (1.0, -1), (math.nan, 4), (math.inf, 4)])
def test_bad_variances_are_refused(bad):
    with pytest.raises(ValueError, match="samples must be pairs of finite numbers, none below 0"):
        paired_tests.fit_prior([(1.0, 4), bad])


def test_moderation_ends_at_plain_t_and_at_the_normal_interval():
    e = paired_tests.estimate([0.4, 1.1, 2.5])
    nothing = paired_tests.moderate(e, Prior(1e-9, 100.0))
    assert (nothing.low, nothing.high) == pytest.approx((e.low, e.high), rel=1e-6)
    assert paired_tests.moderate(e, None) is e

    # where all variances are known to be 0.25, the spread of these three says nothing
    half = stats.norm.ppf(0.975) * 0.5 / math.sqrt(3)
    for df in (1e9, math.inf):
        known = paired_tests.moderate(e, Prior(df, 0.25))
        assert (known.low, known.high) == pytest.approx((e.mean - half, e.mean + half), rel=1e-6)
        assert (known.mean, known.seeds) == (e.mean, 3)
        p = 2 * stats.norm.sf(e.mean * math.sqrt(3) / 0.5)
        assert paired_tests.p_value(known, 0.0) == pytest.approx(p, rel=1e-6)


def test_what_has_no_spread_is_not_moderated():
    for e in (paired_tests.estimate([5.0]), paired_tests.estimate([5.0, 5.0], exact=True)):
        assert paired_tests.moderate(e, Prior(4, 1.0)) is e


def test_moderated_p_is_below_five_per_cent_where_it_should_be():
    """Variances from the prior, no difference: 5 % of 4,000, give or take four standard errors."""
    rng = np.random.default_rng(6)
    prior = Prior(4.4, 1.3)
    sd = np.sqrt(prior.df * prior.variance / rng.chisquare(prior.df, 4000))
    below = decided = 0
    for x in rng.normal(0, 1, (4000, 3)) * sd[:, None]:
        e = paired_tests.moderate(paired_tests.estimate(x), prior)
        below += paired_tests.p_value(e, 0.0) < 0.05
        decided += paired_tests.decide(e, 0, math.inf) != INCONCLUSIVE
    assert below == decided
    assert abs(below / 4000 - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 4000)


# equivalence, what can be found


def test_equivalence_is_two_one_sided_tests():
    rng = np.random.default_rng(7)
    found = []
    for x in rng.normal(0.4, 0.8, (300, 5)):
        theirs, *_ = DescrStatsW(x).ttost_mean(-1.0, 1.0)
        found.append(paired_tests.equivalent(paired_tests.estimate(x), 1.0))
        assert found[-1] == (theirs < 0.05)
    assert 0.05 < np.mean(found) < 0.95


def test_wrong_equivalence_on_the_margin():
    """True difference on the margin: 5 % of 4,000, give or take four standard errors."""
    rng = np.random.default_rng(8)
    found = [
        paired_tests.equivalent(paired_tests.estimate(x), 1.0)
        for x in rng.normal(1.0, 0.3, (4000, 5))
    ]
    assert abs(np.mean(found) - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 4000)


def test_equivalence_without_a_spread():
    assert not paired_tests.equivalent(paired_tests.estimate([0.0]), 1.0)
    exact = paired_tests.estimate([0.5], exact=True)
    assert [paired_tests.equivalent(exact, margin) for margin in (1.0, 0.5)] == [True, False]


@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf])
def test_bad_margins_are_refused(bad):
    with pytest.raises(ValueError, match="margin must be a finite number above 0; got"):
        paired_tests.equivalent(paired_tests.estimate([0.0, 1.0]), bad)


@pytest.mark.parametrize("seeds", [3, 5, 10, 20])
def test_detectable_is_statsmodels_power(seeds):
    e = paired_tests.estimate(np.random.default_rng(seeds).normal(0, 1.3, seeds))
    power = TTestPower().power(paired_tests.detectable(e) / e.sd, seeds, 0.05)
    assert power == pytest.approx(0.8, abs=1e-5)


def test_detectable_with_other_degrees_of_freedom():
    known = Estimate(0.0, 2.0, -1, 1, seeds=4, df=math.inf)
    normal = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * 2 / math.sqrt(4)
    assert paired_tests.detectable(known) == pytest.approx(normal, rel=1e-6)

    # broken ones, by the noncentral F distribution, which counts both signs
    broken = Estimate(0.0, 2.0, -1, 1, seeds=4, df=7.4)
    critical = stats.t.ppf(0.975, 7.4)
    shift = paired_tests.detectable(broken) * math.sqrt(4) / 2
    assert stats.ncf.sf(critical**2, 1, 7.4, shift**2) == pytest.approx(0.8, abs=1e-5)


def test_nothing_is_detectable_without_a_spread():
    assert paired_tests.detectable(paired_tests.estimate([1.0])) is None
    assert paired_tests.detectable(paired_tests.estimate([1.0, 1.0], exact=True)) is None


# orders


def test_order_scores_are_counts_of_pairs():
    for x in permutations([4.0, 3.0, 2.0, 1.0]):
        agreeing = sum(x[i] > x[j] for i in range(4) for j in range(i + 1, 4))
        assert paired_tests.order_score(x) == pytest.approx(2 * agreeing / 6 - 1)
    assert paired_tests.order_score([3, 2, 1]) == 1 and paired_tests.order_score([1, 2, 3]) == -1


def test_ties_are_tau_b_s():
    # five pairs as claimed, one equal: 5 / sqrt(6 * 5)
    assert paired_tests.order_score([3, 2, 2, 1]) == pytest.approx(5 / math.sqrt(30))
    assert paired_tests.order_score([7.0, 7.0, 7.0]) == 0.0


@pytest.mark.parametrize("rows, seeds", [(3, 2), (3, 3), (3, 5), (4, 3)])
def test_false_orders_of_all_possible_studies(rows, seeds):
    """No order: every order is as likely in every seed. All studies of that size are judged.

    Either wrong verdict comes in at most the 3 % that `order_score` states.
    """
    scores = [paired_tests.order_score(x) for x in permutations(range(rows))]
    step = paired_tests.order_step(rows)
    found = [
        paired_tests.decide(paired_tests.estimate(study, step), 0, math.inf)
        for study in product(scores, repeat=seeds)
    ]
    for wrong in (REPRODUCED, NOT_REPRODUCED):
        assert found.count(wrong) / len(found) < 0.03


def test_orders_that_agree_are_found():
    scores = [paired_tests.order_score(x) for x in ([4, 3, 2, 1], [4, 3, 1, 2], [9, 8, 7, 1])]
    e = paired_tests.estimate(scores, paired_tests.order_step(4))
    assert paired_tests.decide(e, 0, math.inf) == REPRODUCED


@pytest.mark.parametrize("bad", [[], [1.0], [1.0, math.nan]])
def test_bad_orders_are_refused(bad):
    with pytest.raises(ValueError, match="values must be finite and at least two"):
        paired_tests.order_score(bad)
    with pytest.raises(ValueError, match="rows must be at least 2; got 1"):
        paired_tests.order_step(1)


# the simulation of docs/benchmarks/verdicts.md


@pytest.fixture(scope="module")
def simulation():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend("benchmarks")
        module = importlib.import_module("simulate_verdicts")
    gc.freeze()  # as its command does
    yield module
    gc.unfreeze()


@pytest.fixture(scope="module")
def family(simulation):
    return simulation.read_family()


def test_the_simulated_family_is_that_of_page_1(family):
    assert len(family.slides) > 60
    assert family.slides[:12] == pytest.approx(
        [1.96, 1.96, 0, 0, 0.98, 0, 1.51, 1.51, 2.16, 2.16, -1.32, -1.32]  # 0: not the slides'
    )
    assert (abs(family.contrasts).sum(axis=1) == 2).all()
    assert (family.contrasts.sum(axis=1) == 0).all()


def test_simulated_differences_share_their_rows(simulation, family):
    """FL weighted - full and weighted only - full have full in common: a correlation of 0.5."""
    spread = simulation.spreads_of(family)["prior, best epoch"]
    studies = simulation.simulate(np.random.default_rng(9), family, spread, 5, 400)
    unit = studies.noise[:, :, :12] / np.sqrt(studies.variances[:, None, :12])
    correlation = np.corrcoef(unit.reshape(-1, 12).T)
    assert correlation[0, 4] == pytest.approx(0.5, abs=0.08)
    assert correlation[0, 6] == pytest.approx(0.0, abs=0.1)  # noise 0.4 and noise 0.2
    assert unit.std() == pytest.approx(1.0, abs=0.05)


def test_the_methods_err_as_often_as_they_say(simulation, family):
    """Studies of 5 seeds where no rows differ: a right test exceeds each bound once in 10,000."""
    spread = simulation.spreads_of(family)["prior, best epoch"]
    studies = simulation.simulate(np.random.default_rng(10), family, spread, 5, 200)
    estimates = [simulation.moderated(study) for study in studies.noise]
    drawn = [after for _, after in estimates]
    bound = stats.binom.isf(1e-4, 200, 0.05)

    # the family as a whole
    signs = simulation.decided(studies, drawn, np.zeros(len(family.slides)))
    for method in simulation.METHODS:
        assert (signs[method] != 0).any(axis=1).sum() <= bound

    # one comparison of each study: 5 %, from below too
    first = np.array([[simulation.outside(e) for e in side[:1]] for side in drawn])
    assert stats.binom.isf(1 - 1e-4, 200, 0.05) <= first.sum() <= bound

    # and with differences of 2 points the small family of moderated tests finds the most
    effects = simulation.effects_of(family)["2 points"]
    found = simulation.decided(studies, drawn, effects)
    power = {method: (found[method][:, :12] > 0).mean() for method in simulation.METHODS}
    assert power[simulation.ALL] < power[simulation.PLAIN] < power[simulation.MODERATED]
    assert power[simulation.MODERATED] > 0.4


def test_the_simulation_tests_as_the_report_does(simulation, family):
    spread = simulation.spreads_of(family)["records, last epoch"]
    study = simulation.simulate(np.random.default_rng(11), family, spread, 3, 1).noise[0]
    effects = family.slides
    plain, drawn = simulation.moderated(study)
    p = simulation.p_values(study, drawn, effects)
    ours = [paired_tests.estimate(x) for x in (study + effects).T]
    assert [paired_tests.p_value(e, 0.0) for e in ours] == pytest.approx(p[simulation.ALL])

    # a shift of the true differences leaves the spread as it is
    prior = paired_tests.fit_prior([(e.sd**2, 2) for e in ours])
    again = [paired_tests.p_value(paired_tests.moderate(e, prior), 0.0) for e in ours[:12]]
    assert again == pytest.approx(p[simulation.MODERATED])


def test_the_page_says_what_follows_first(simulation, family, monkeypatch):
    monkeypatch.setattr(simulation, "read_family", lambda: family)
    page = simulation.make_page(studies=5, seed=1)
    assert page == simulation.make_page(studies=5, seed=1)
    first = page.split("## ")[0]
    for words in (
        f"one family of all {len(family.slides)} comparisons: family-wise error",
        "Moderated t, a family of 12: family-wise error",
        '"No difference beyond 1 point"',
        "An order of four rows by tau",
    ):
        assert words in first
    assert "nan" not in page
