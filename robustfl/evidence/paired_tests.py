"""Small-sample statistics of paired seeds.

They are an interval, a decision against bounds, the seeds needed and a correction for many claims.
A difference is taken within a seed, where both runs share label noise, initialisation and hold-out,
so what is left is one number per seed and the interval is Student's t. The mathematics
is scipy's and statsmodels'; this module only phrases the questions.
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
POWER = 0.8  # of the test that `seeds_needed` plans
MOST_SEEDS = 1000  # beyond which the number of seeds needed is not worth a digit


@dataclass(frozen=True)
class Estimate:
    """Mean of one number per seed, its t interval; low and high are None with one seed."""

    mean: float
    sd: float | None  # between seeds, never below the quantisation of the measure
    low: float | None
    high: float | None
    seeds: int


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
    from scipy import stats

    # three seeds may agree to the digit by luck: that must not make an interval of no width
    sd = max(float(x.std(ddof=1)), resolution / math.sqrt(6))
    half = float(stats.t.ppf(0.5 + LEVEL / 2, x.size - 1)) * sd / math.sqrt(x.size)
    return Estimate(mean, sd, mean - half, mean + half, x.size)


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
    """Two-sided p of the t test that the mean is `bound`.

    None with one seed or an exact quantity.
    """
    if not e.sd:
        return None
    from scipy import stats

    return float(2 * stats.t.sf(abs(e.mean - bound) * math.sqrt(e.seeds) / e.sd, e.seeds - 1))


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
