"""Small-sample statistics of paired seeds.

They are an interval, a decision against bounds, a verdict of equivalence, the difference that a
test can find and a correction for many claims.
A difference is taken within a seed, where both runs share label noise, initialisation and hold-out,
so what is left is one number per seed and the interval is Student's t. With few seeds the spread of
one comparison is itself a matter of luck: `moderate` draws it towards what all comparisons have in
common. The mathematics is scipy's and statsmodels'; this module only phrases the questions.
docs/benchmarks/verdicts.md says how often the answers are wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
INCONCLUSIVE = "inconclusive"
LEVEL = 0.95  # of every interval
POWER = 0.8  # of the tests that `seeds_needed` and `detectable` plan
MOST_SEEDS = 1000  # beyond which the number of seeds needed is not worth a digit
FEWEST_VARIANCES = 3  # with fewer, how much they differ is not an estimate


@dataclass(frozen=True)
class Estimate:
    """Mean of one number per seed, its t interval; low and high are None with one seed."""

    mean: float
    sd: float | None  # between seeds, never below the quantisation of the measure
    low: float | None
    high: float | None
    seeds: int
    df: float | None = None  # degrees of freedom of the interval; None: seeds - 1, or none needed


@dataclass(frozen=True)
class Prior:
    """What the variances of many comparisons have in common.

    A true variance is df * variance divided by a chi-squared number of df degrees of freedom.
    """

    df: float  # of how many differences the prior is worth; inf: all true variances are the same
    variance: float  # where the variances lie, in the squared unit of the measure


def estimate(values: Sequence[float], resolution: float = 0.0, exact: bool = False) -> Estimate:
    """Estimate of the mean of `values`, one per seed.

    resolution: step of the measure (100 / test points for an accuracy in %). A sample whose values
    happen to agree has no smaller spread than rounding gives: step / sqrt(6) for a difference of
    two rounded numbers.
    exact: the quantity does not vary with the seed by construction (a count), so one seed is
    enough. Raises ValueError for no values.

    >>> e = estimate([1.0, 2.0, 3.0])
    >>> e.mean, e.sd, round(e.low, 2), round(e.high, 2)
    (2.0, 1.0, -0.48, 4.48)
    """
    x = np.asarray(values, dtype=float)
    if x.size == 0 or not np.isfinite(x).all():
        raise ValueError(f"values must be finite and at least one; got {list(values)}")
    mean = float(x.mean())
    if exact and np.ptp(x) == 0:
        return Estimate(mean, 0.0, mean, mean, x.size)
    if x.size == 1:
        return Estimate(mean, None, None, None, 1)

    # three seeds may agree to the digit by luck: that must not make an interval of no width
    sd = max(float(x.std(ddof=1)), resolution / math.sqrt(6))
    half = _quantile(0.5 + LEVEL / 2, x.size - 1) * sd / math.sqrt(x.size)
    return Estimate(mean, sd, mean - half, mean + half, x.size, df=x.size - 1)


def fit_prior(samples: Sequence[tuple[float, int]]) -> Prior | None:
    """The prior of the variances that were estimated in many comparisons of one measure.

    samples: (sample variance of the paired difference, its degrees of freedom), a pair for each
    comparison. The moments of the logarithms of the variances are held against those that chance
    alone gives them. The prior has df = inf where the variances differ no more than by chance, and
    then their pooled variance. Variances of zero and samples without degrees of freedom are left
    out; None with fewer than FEWEST_VARIANCES others. Raises ValueError for a negative or infinite
    number.

    Smyth, "Linear models and empirical Bayes methods for assessing differential expression in
    microarray experiments", 2004, section 6.2.

    >>> p = fit_prior([(0.25, 4), (0.5, 4), (0.81, 4), (1.44, 4), (2.25, 4), (4.0, 4), (9.0, 4)])
    >>> round(p.df, 2), round(p.variance, 2)
    (3.16, 1.31)
    """
    from scipy.special import digamma, polygamma

    # what is no variance, or no degrees of freedom, would vanish in the logarithms
    for sample in samples:
        if not all(math.isfinite(number) and number >= 0 for number in sample):
            raise ValueError(
                f"samples must be pairs of finite numbers, none below 0; got {tuple(sample)}"
            )
    usable = [(variance, df) for variance, df in samples if variance > 0 and df > 0]
    if len(usable) < FEWEST_VARIANCES:
        return None

    # logarithms without the bias that few degrees of freedom give them, and how much more they
    # spread than the logarithms of estimates of one and the same variance
    variances, df = np.array(usable, dtype=float).T
    logs = np.log(variances) - digamma(df / 2) + np.log(df / 2)
    excess = float(logs.var(ddof=1) - polygamma(1, df / 2).mean())
    if excess <= 0:
        return Prior(math.inf, float(df @ variances / df.sum()))

    prior_df = 2 * trigamma_inverse(excess)
    location = logs.mean() + digamma(prior_df / 2) - math.log(prior_df / 2)
    return Prior(prior_df, math.exp(location))


def trigamma_inverse(x: float) -> float:
    """The y > 0 whose trigamma function is x > 0.

    Newton's method on 1 / trigamma(y) = 1 / x, which is convex and so comes near from one side
    (Smyth 2004, appendix).

    >>> round(trigamma_inverse(math.pi**2 / 6), 9)
    1.0
    """
    from scipy.optimize import newton
    from scipy.special import polygamma

    return float(
        newton(
            lambda y: 1 / polygamma(1, y) - 1 / x,
            0.5 + 1 / x,
            fprime=lambda y: -polygamma(2, y) / polygamma(1, y) ** 2,
            tol=1e-12,
            rtol=1e-10,
        )
    )


def moderate(e: Estimate, prior: Prior | None) -> Estimate:
    """The estimate with its variance drawn towards the prior: a moderated t interval.

    The variance is the mean of both, weighed by their degrees of freedom, and the interval has the
    degrees of freedom of both together: a comparison whose seeds agree by luck is no longer
    certain, one whose seeds scatter by luck no longer hopeless. The mean stays. Without a prior,
    with one seed or for an exact quantity the estimate is returned as it is.

    Smyth 2004, sections 3 and 4.

    >>> e = moderate(estimate([1.0, 2.0, 3.0]), Prior(df=4, variance=0.25))
    >>> e.mean, round(e.sd, 3), round(e.low, 2), round(e.high, 2), e.df
    (2.0, 0.707, 1.0, 3.0, 6)
    """
    if prior is None or not e.sd:
        return e

    # a certain prior leaves nothing to the sample
    own = _df(e)
    df = own + prior.df
    share = 1.0 if math.isinf(prior.df) else prior.df / df  # of the prior in the new variance
    sd = math.sqrt(share * prior.variance + (1 - share) * e.sd**2)

    # the interval is that of the same mean with the new spread
    half = _quantile(0.5 + LEVEL / 2, df) * sd / math.sqrt(e.seeds)
    return Estimate(e.mean, sd, e.mean - half, e.mean + half, e.seeds, df)


def _df(e: Estimate) -> float:
    """Degrees of freedom of the estimate's standard deviation."""
    return e.seeds - 1 if e.df is None else e.df


def _quantile(probability: float, df: float) -> float:
    """Quantile of Student's t; df may be broken or infinite."""
    from scipy import stats

    return float(stats.t.ppf(probability, df))


def decide(e: Estimate, low: float, high: float) -> str:
    """Whether a claim that the quantity lies in (low, high) holds; either bound may be infinite.

    reproduced: the whole interval lies in it; not reproduced: the whole interval lies outside; else
    inconclusive. With one finite bound and a true value on it, either wrong verdict comes with
    probability (1 - LEVEL) / 2.

    >>> decide(Estimate(2.0, 1.0, low=0.5, high=3.5, seeds=4), 0, math.inf)
    'reproduced'
    >>> decide(Estimate(2.0, 1.0, low=-0.5, high=4.5, seeds=3), 0, math.inf)
    'inconclusive'
    """
    if e.low is None or e.high is None:
        return INCONCLUSIVE
    if e.low == e.high:  # an exact quantity
        return REPRODUCED if low < e.mean < high else NOT_REPRODUCED
    if low < e.low and e.high < high:
        return REPRODUCED
    return NOT_REPRODUCED if e.high < low or e.low > high else INCONCLUSIVE


def nearest_bound(e: Estimate, low: float, high: float) -> float:
    """The finite one of the two bounds that lies nearer to the mean."""
    return min((b for b in (low, high) if math.isfinite(b)), key=lambda b: abs(e.mean - b))


def p_value(e: Estimate, bound: float) -> float | None:
    """Two-sided p of the t test that the mean is `bound`, with the estimate's degrees of freedom.

    None with one seed or an exact quantity.
    """
    if not e.sd:
        return None
    from scipy import stats

    return float(2 * stats.t.sf(abs(e.mean - bound) * math.sqrt(e.seeds) / e.sd, _df(e)))


def equivalent(e: Estimate, margin: float) -> bool:
    """Whether the mean is shown to lie within +-margin, whatever its sign.

    Two one-sided t tests, each at level 1 - LEVEL: the interval of level 2 LEVEL - 1 (90 %) lies
    within the margin. With a true value on the margin the verdict comes with probability
    1 - LEVEL at most. False with one seed; an exact quantity needs no test. Raises ValueError for
    a margin that is no number above 0.

    Schuirmann, "A comparison of the two one-sided tests procedure and the power approach", 1987.

    >>> [equivalent(estimate([-0.1, 0.0, 0.2]), margin) for margin in (1.0, 0.1)]
    [True, False]
    """
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"margin must be a finite number above 0; got {margin}")
    if e.sd is None:
        return False

    # both one-sided tests reject where this interval lies inside
    half = _quantile(LEVEL, _df(e)) * e.sd / math.sqrt(e.seeds) if e.sd else 0.0
    return -margin < e.mean - half and e.mean + half < margin


def detectable(e: Estimate) -> float | None:
    """Smallest true difference that the two-sided t test finds with probability POWER.

    It is that of a test at level 1 - LEVEL with the estimate's standard deviation, seeds and
    degrees of freedom, in the unit of the measure; found means decided, with the right sign. It
    does not depend on the mean, and so says what "no difference found" is worth. None with one
    seed or an exact quantity.

    >>> round(detectable(estimate([1.0, 2.0, 3.0, 4.0, 5.0])), 2)
    2.66
    """
    if not e.sd:
        return None
    from scipy.special import nctdtrinc

    # t is non-central there, and exceeds the critical value with probability POWER
    df = _df(e)
    shift = float(nctdtrinc(df, 1 - POWER, _quantile(0.5 + LEVEL / 2, df)))  # standard errors
    return shift * e.sd / math.sqrt(e.seeds)


def order_score(values: Sequence[float]) -> float:
    """How well one seed's numbers agree with a claimed order: Kendall's tau-b.

    values: the numbers of the order's rows, the row claimed best first. 1: every pair lies as
    claimed, -1: every pair the other way round, 0: no order, as where all numbers are the same; a
    pair of equal numbers counts as neither. One score per seed makes one test of an order, by
    `estimate` with the resolution `order_step`. Scores come in steps, so that the test is not
    exact: with no order among three rows or more, and up to ten seeds, either wrong verdict comes
    in at most 3 % of the studies (by enumeration), not in 2.5 %. Raises ValueError for fewer than
    two numbers and for one that is not finite.

    Kendall, "The treatment of ties in ranking problems", 1945.

    >>> order_score([90.1, 89.5, 88.0]), round(order_score([90.1, 88.0, 89.5]), 2)
    (1.0, 0.33)
    """
    x = np.asarray(values, dtype=float)
    if x.size < 2 or not np.isfinite(x).all():
        raise ValueError(f"values must be finite and at least two; got {list(values)}")
    if np.ptp(x) == 0:  # tau-b is not defined there
        return 0.0
    from scipy import stats

    return float(stats.kendalltau(x, -np.arange(x.size)).statistic)


def order_step(rows: int) -> float:
    """Step of `order_score` between two orders that differ in one pair.

    As the resolution of `estimate` it keeps seeds that have the same score by luck from making an
    interval of no width. Raises ValueError for fewer than two rows.

    >>> order_step(4) * 6  # from all of the six pairs as claimed to all reversed
    2.0
    """
    if rows < 2:
        raise ValueError(f"rows must be at least 2; got {rows}")
    return 2 / math.comb(rows, 2)


def seeds_needed(e: Estimate, bound: float) -> int | None:
    """Seeds with which a paired t test tells the observed mean from `bound`.

    It does with probability POWER if mean and spread stay as observed. None with fewer than two
    seeds, MOST_SEEDS where more are needed.
    """
    if not e.sd:
        return None
    from statsmodels.stats.power import TTestPower

    effect = abs(e.mean - bound) / e.sd
    power = TTestPower()

    # doubling first: far above the answer the power is not computable
    high = 2
    while power.power(effect, high, 1 - LEVEL) < POWER:
        if high == MOST_SEEDS:
            return MOST_SEEDS
        high = min(2 * high, MOST_SEEDS)

    # power grows with the seeds: low has too little, high enough
    low = max(1, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        if power.power(effect, middle, 1 - LEVEL) >= POWER:
            high = middle
        else:
            low = middle
    return high


def seed_floor(samples: Iterable[Sequence[float]]) -> float | None:
    """Pooled standard deviation between seeds of single runs.

    A difference below it is noise. None with one seed.
    """
    # pooled by degrees of freedom, so that a row with more seeds weighs more
    kept = [np.asarray(s, dtype=float) for s in samples if len(s) > 1]
    if not kept:
        return None
    return math.sqrt(sum(((s - s.mean()) ** 2).sum() for s in kept) / sum(len(s) - 1 for s in kept))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction over a family of tests; None stays None and does not count.

    >>> holm([0.01, None, 0.04])
    [0.02, None, 0.04]
    """
    tests = [i for i, p in enumerate(p_values) if p is not None]
    corrected: list[float | None] = [None] * len(p_values)
    if tests:
        from statsmodels.stats.multitest import multipletests

        adjusted = multipletests([p_values[i] for i in tests], method="holm")[1]
        for i, p in zip(tests, adjusted):
            corrected[i] = float(p)
    return corrected
