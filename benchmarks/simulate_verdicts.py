"""How often the verdicts of the report are wrong, and what they find: a simulation.

    # writes docs/benchmarks/verdicts.md, some minutes on one core
    python benchmarks/simulate_verdicts.py

It simulates whole studies: every comparison of accuracies that the claims make, with the rows that
they share, and true differences that are known. How much a difference varies between seeds is drawn
from the committed records of the laptop scale. The tests are those of the report,
`robustfl.evidence.paired_tests`; every random number follows from --seed.
"""

from __future__ import annotations

import argparse
import gc
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy import stats

from robustfl.evidence import claims, paired_tests, tables
from robustfl.evidence.claims.claim import Statistic
from robustfl.evidence.claims.comparison import MOST_PRIMARY as SMALL
from robustfl.evidence.paired_tests import NOT_REPRODUCED, REPRODUCED, Estimate, Prior
from robustfl.evidence.tables import StudyRecords
from robustfl.study import experiments
from robustfl.study.experiments import Row

RECORDS = Path("results/laptop")
MEASURES = {"best_top1": "best epoch", "last_top1": "last epoch"}
SEEDS = (2, 3, 5, 10)
ALPHA = 1 - paired_tests.LEVEL
MARGIN = 1.0  # points within which a difference counts as none

# orders of the slides, best first
ORDERS = (
    ("noise_0.4_cifar10", ("FL weighted", "weighted only", "FL only", "full")),
    ("noise_0.2_cifar10", ("FL weighted", "weighted only", "full")),
    ("speed_cifar10", ("100%", "80%", "60%", "40%", "20%")),
)

ALL = "plain t, all"
PLAIN = "plain t, 12"
MODERATED = "moderated t, 12"
METHODS = (ALL, PLAIN, MODERATED)
LOUD = "moderated t, the tenth that varies most"
QUARTILES = (0.25, 0.5, 0.75)
TRUTHS = (0.0, MARGIN, 2 * MARGIN)  # true differences held against the margin


@dataclass(frozen=True)
class Family:
    """The n comparisons of a study over its rows; the first SMALL are the primary ones."""

    names: list[str]  # of the primary ones
    contrasts: np.ndarray  # (n, rows) 1 for the better row of the comparison, -1 for the other
    slides: np.ndarray  # (n,) the slides' differences, points; 0 where they have none
    variances: dict[str, np.ndarray]  # measure -> (n,) of the paired differences in the records
    shared: dict[str, float]  # measure -> median correlation of differences that share a row
    orders: list[np.ndarray]  # the slides' accuracies of each of ORDERS, %


@dataclass(frozen=True)
class Studies:
    """Simulated studies of a family whose true differences are 0."""

    noise: np.ndarray  # (studies, seeds, n) differences, points
    variances: np.ndarray  # (studies, n) the true ones


# reading the records


def read_family(folder: Path = RECORDS) -> Family:
    """The family of the study whose records lie in `folder`, and their variances."""
    study = experiments.load(folder.name, directory=folder / "study")
    gathered = tables.gather(study, {"results": str(folder.parent)})

    # the primary comparisons come first
    primary = [v.comparison for v in claims.verdicts(gathered) if v.primary]
    if len(primary) != SMALL:
        raise ValueError(f"{folder} must have {SMALL} primary comparisons; it has {len(primary)}")

    # whatever else the claims compare in best accuracy, each pair of rows once
    others = [
        c
        for claim in claims.load(folder / "study" / "claims.yaml")
        if claim.statistic is Statistic.DIFFERENCE
        and "epochs" in claim.budgets
        and "best_top1" in claim.measures
        for c in claims.comparisons(claim, gathered)
    ]
    distinct = {frozenset(row.names for row in c.rows): c for c in [*others, *primary]}
    first = {frozenset(row.names for row in c.rows): c for c in primary}
    comparisons = list((first | distinct).values())
    pairs = [(c.rows[0], c.rows[1]) for c in comparisons]
    slides = [c.published or 0.0 for c in comparisons]

    contrasts = _contrasts(pairs)
    differences = {m: np.array([_differences(gathered, m, *p) for p in pairs]) for m in MEASURES}
    return Family(
        [f"{c.claim.key}: {c.part}" for c in primary],
        contrasts,
        np.array(slides),
        {m: d.var(axis=1, ddof=1) for m, d in differences.items()},
        {m: _shared_correlation(d, contrasts) for m, d in differences.items()},
        [np.array([gathered.slides[g][row]["best"] for row in rows]) for g, rows in ORDERS],
    )


def _differences(gathered: StudyRecords, measure: str, over: Row, under: Row) -> np.ndarray:
    """(seeds,) points."""
    a, b = (tables.values(gathered.runs_of(row), measure) for row in (over, under))
    return np.subtract(a, b)


def _contrasts(pairs: list[tuple[Row, Row]]) -> np.ndarray:
    """(n, rows): rows that are the same runs are one column, whatever group they stand in."""
    columns: dict[tuple, int] = {}
    for row in (row for pair in pairs for row in pair):
        columns.setdefault(tuple(row.names), len(columns))

    # the better row counts up, the other down
    contrasts = np.zeros((len(pairs), len(columns)))
    for i, (over, under) in enumerate(pairs):
        contrasts[i, columns[tuple(over.names)]] = 1
        contrasts[i, columns[tuple(under.names)]] = -1
    return contrasts


def _shared_correlation(differences: np.ndarray, contrasts: np.ndarray) -> float:
    """Median correlation between seeds of comparisons with a row in common, on the same side."""
    sides = np.triu(contrasts @ contrasts.T, k=1)
    correlations = np.corrcoef(differences)
    return float(np.median((correlations * sides)[sides != 0]))


# simulated studies

Spread = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def spreads_of(family: Family) -> dict[str, Spread]:
    """Where true variances are drawn from, by name: the records' variances, and their prior."""
    return {
        "records, best epoch": _from_records(family.variances["best_top1"]),
        "records, last epoch": _from_records(family.variances["last_top1"]),
        "prior, best epoch": _from_prior(prior_of(family, "best_top1")),
    }


def prior_of(family: Family, measure: str) -> Prior:
    """The prior of the records' variances, of 5 seeds."""
    prior = paired_tests.fit_prior([(v, 4) for v in family.variances[measure]])
    assert prior is not None
    return prior


def _from_records(variances: np.ndarray) -> Spread:
    return lambda rng, shape: rng.choice(variances, shape)


def _from_prior(prior: Prior) -> Spread:
    return lambda rng, shape: prior.df * prior.variance / rng.chisquare(prior.df, shape)


def simulate(
    rng: np.random.Generator, family: Family, spread: Spread, seeds: int, studies: int
) -> Studies:
    """Studies whose true differences are 0.

    Every row has noise of its own in every seed, so that comparisons that share a row are
    correlated as those of the family are; each difference is then scaled to its true variance.
    """
    n, rows = family.contrasts.shape
    variances = spread(rng, (studies, n))

    # noise of the rows, of which a comparison is the difference: variance 1 once halved
    unit = rng.standard_normal((studies, seeds, rows)) @ family.contrasts.T / np.sqrt(2)
    return Studies(unit * np.sqrt(variances)[:, None], variances)


def moderated(study: np.ndarray) -> tuple[list[Estimate], list[Estimate]]:
    """The plain and the moderated estimates of the primary comparisons of one study.

    study: (seeds, n) differences; the prior is that of all n.
    """
    df = len(study) - 1
    prior = paired_tests.fit_prior([(v, df) for v in study.var(axis=0, ddof=1)])
    plain = [paired_tests.estimate(x) for x in study.T[:SMALL]]
    return plain, [paired_tests.moderate(e, prior) for e in plain]


def shifted(estimates: Iterable[Estimate], effects: Iterable[float]) -> list[Estimate]:
    """What the estimates are where the true differences are `effects` instead of 0."""
    return [replace(e, mean=e.mean + effect) for e, effect in zip(estimates, effects)]


def p_values(
    noise: np.ndarray, estimates: list[Estimate], effects: np.ndarray
) -> dict[str, np.ndarray]:
    """Uncorrected p of one study by method: of all n comparisons, or of the primary ones.

    noise: (seeds, n). estimates: the moderated ones.
    """
    # scipy's for the large family, whose n estimates would take most of the time
    plain = stats.ttest_1samp(noise + effects, 0.0).pvalue
    drawn = [paired_tests.p_value(e, 0.0) for e in shifted(estimates, effects)]
    return {ALL: plain, PLAIN: plain[:SMALL], MODERATED: np.array(drawn, dtype=float)}


# what is counted

Rates = dict[tuple, float]  # what is counted, of what -> share of the studies or comparisons


def effects_of(family: Family) -> dict[str, np.ndarray]:
    """Scenario -> (n,) true differences, points."""
    n = len(family.slides)
    primary = (np.arange(n) < SMALL).astype(float)
    return {
        "nothing": np.zeros(n),
        "half": 2 * primary * (np.arange(n) % 2),
        "slides": family.slides,
        "1 point": primary,
        "2 points": 2 * primary,
    }


def count(family: Family, studies: Studies) -> Rates:
    """How the methods fare in the studies.

    (false, scenario, method): any comparison without a difference is decided. (wrong sign,
    scenario, method): any is decided against its true sign. (found, scenario, method, i): primary
    comparison i is decided with its true sign; without i: their mean. (prior, q): quantile q of
    the fitted degrees of freedom, no rate. Others: the functions below.
    """
    estimates = [moderated(study) for study in studies.noise]
    drawn = [after for _, after in estimates]
    rates: Rates = {}
    for scenario, effects in effects_of(family).items():
        for method, signs in decided(studies, drawn, effects).items():
            true = np.sign(effects[: signs.shape[1]])
            of = scenario, method
            rates["false", *of] = float(((signs != 0) & (true == 0)).any(axis=1).mean())
            rates["wrong sign", *of] = float((signs * true < 0).any(axis=1).mean())

            # power, of the same twelve comparisons whatever the family
            found = (signs * true > 0).mean(axis=0)[:SMALL]
            differ = true[:SMALL] != 0
            rates["found", *of] = float(found[differ].mean()) if differ.any() else 0.0
            rates |= {("found", *of, i): float(rate) for i, rate in enumerate(found)}
    rates |= {
        ("prior", q): float(np.quantile(prior_df(estimates), q, method="lower")) for q in QUARTILES
    }
    return rates | single_rates(studies, estimates) | equivalence_rates(estimates[::4])


def decided(
    studies: Studies, drawn: list[list[Estimate]], effects: np.ndarray
) -> dict[str, np.ndarray]:
    """Method -> (studies, n or 12): sign of each difference that Holm's correction leaves."""
    signs: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}
    for noise, estimates in zip(studies.noise, drawn):
        direction = np.sign(noise.mean(axis=0) + effects)
        for method, p in p_values(noise, estimates, effects).items():
            kept = np.array(paired_tests.holm(list(p)), dtype=float) < ALPHA
            signs[method].append(kept * direction[: len(p)])
    return {method: np.array(s) for method, s in signs.items()}


def prior_df(estimates: list[tuple[list[Estimate], list[Estimate]]]) -> list[float]:
    """Degrees of freedom of the prior that each study has fitted; 0 without a prior."""
    return [(after[0].df or 0) - (before[0].df or 0) for before, after in estimates]


def outside(e: Estimate) -> bool:
    """Whether 0 lies outside the estimate's interval."""
    return e.low is not None and e.high is not None and not e.low < 0 < e.high


def single_rates(studies: Studies, estimates: list[tuple[list[Estimate], list[Estimate]]]) -> Rates:
    """(single, method): the interval of one comparison without a difference does not hold 0.

    (single, LOUD): the same of those whose true variance is in the highest tenth.
    """
    missed = np.array(
        [[[outside(e) for e in side] for side in both] for both in estimates]
    )  # (studies, 2, 12)
    true = studies.variances[:, :SMALL]

    # a common prior lends certainty to the comparisons that vary more than the rest
    loud = missed[:, 1][true >= np.quantile(true, 0.9)]
    return {
        ("single", PLAIN): float(missed[:, 0].mean()),
        ("single", MODERATED): float(missed[:, 1].mean()),
        ("single", LOUD): float(loud.mean()),
    }


def equivalence_rates(estimates: list[tuple[list[Estimate], list[Estimate]]]) -> Rates:
    """(equivalent, method, truth): one comparison is called equivalent at MARGIN.

    (any equivalent, method): any of the twelve, all of them with a true difference of MARGIN.
    """
    rates: Rates = {}
    for position, method in enumerate((PLAIN, MODERATED)):
        for truth in TRUTHS:
            studies = [shifted(both[position], [truth] * SMALL) for both in estimates]
            found = [[paired_tests.equivalent(e, MARGIN) for e in study] for study in studies]
            rates["equivalent", method, truth] = float(np.mean(found))
            if truth == MARGIN:
                rates["any equivalent", method] = float(np.any(found, axis=1).mean())
    return rates


def detectable_rates(
    rng: np.random.Generator, family: Family, spread: Spread, seeds: int, studies: int
) -> dict[str, tuple[float, float]]:
    """Method -> (median difference that `detectable` names, rate at which a second study finds it).

    Both studies are of the same comparisons: their true variances are the same.
    """
    first = simulate(rng, family, spread, seeds, studies)
    second = simulate(rng, family, lambda *_: first.variances, seeds, studies)

    # the first says what it could have found; the second is given differences of that size
    named: dict[str, list[float]] = {PLAIN: [], MODERATED: []}
    seen: dict[str, list[bool]] = {PLAIN: [], MODERATED: []}
    for before, after in zip(first.noise, second.noise):
        for method, old, new in zip(named, moderated(before), moderated(after)):
            differences = [paired_tests.detectable(e) or 0.0 for e in old]
            named[method] += differences
            seen[method] += [
                e.mean > 0 and (paired_tests.p_value(e, 0.0) or 0.0) < ALPHA
                for e in shifted(new, differences)
            ]
    return {m: (float(np.median(named[m])), float(np.mean(seen[m]))) for m in named}


# orders


@cache
def _score(ranks: tuple[int, ...]) -> float:
    return paired_tests.order_score(ranks)


def order_by_tau(study: np.ndarray) -> str:
    """Verdict of one test of one score per seed. study: (seeds, rows), claimed best first."""
    scores = [_score(tuple(x.argsort().argsort())) for x in study]
    e = paired_tests.estimate(scores, paired_tests.order_step(study.shape[1]))
    return paired_tests.decide(e, 0.0, np.inf)


def order_by_pairs(study: np.ndarray) -> str:
    """Verdict of the rule that asks every pair: all must hold, one that fails is enough."""
    pairs = np.array([study[:, i] - study[:, j] for i, j in combinations(range(study.shape[1]), 2)])
    sure = stats.ttest_1samp(pairs, 0.0, axis=1).pvalue < ALPHA
    signs = sure * np.sign(pairs.mean(axis=1))
    return NOT_REPRODUCED if (signs < 0).any() else REPRODUCED if signs.all() else "inconclusive"


def order_rates(
    rng: np.random.Generator, values: np.ndarray, spread: Spread, seeds: int, studies: int
) -> dict[tuple[str, str], tuple[float, float]]:
    """(truth, rule) -> rates of `reproduced` and `not reproduced`.

    values: (rows,) the slides' accuracies, claimed best first, %. A row has half the variance of a
    difference.
    """
    sd = np.sqrt(spread(rng, (studies, len(values))) / 2)
    noise = rng.standard_normal((studies, seeds, len(values))) * sd[:, None]

    # the same noise around each of three truths
    rates = {}
    truths = {"no order": 0 * values, "the slides'": values, "the reverse": -values}
    for truth, means in truths.items():
        for rule, verdict in (("tau", order_by_tau), ("all pairs", order_by_pairs)):
            found = [verdict(study + means) for study in noise]
            rates[truth, rule] = (
                found.count(REPRODUCED) / studies,
                found.count(NOT_REPRODUCED) / studies,
            )
    return rates


# the page

Counted = dict[str, dict[int, Rates]]  # spread -> seeds -> rates
Detected = dict[tuple[str, int], dict[str, tuple[float, float]]]  # of detectable_rates
Ordered = dict[tuple[str, int], dict[tuple[str, str], tuple[float, float]]]  # of order_rates


def percent(rate: float) -> str:
    """A rate in per cent, with a digit where it is small."""
    return f"{100 * rate:.1f}" if rate < 0.0995 else f"{100 * rate:.0f}"


def table(words: list[str], rows: Iterable[tuple[list[str], list[str]]]) -> list[str]:
    """Lines of a Markdown table with a column per number of seeds behind the `words`."""
    head = words + [f"{seeds} seeds" for seeds in SEEDS]
    ruler = ["---"] * len(words) + ["---:"] * len(SEEDS)
    lines = [head, ruler, *(names + numbers for names, numbers in rows)]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def cells(by_seeds: dict[int, Rates], *key: object) -> list[str]:
    """A rate at each number of seeds, %."""
    return [percent(by_seeds[seeds][key]) for seeds in SEEDS]


def rates_table(counted: Counted, words: list[str], keys: dict[str, tuple]) -> list[str]:
    """A line for each spread and each of the rates `keys` names."""
    return table(
        [*words, "spread"],
        (
            ([name, spread], cells(by_seeds, *key))
            for name, key in keys.items()
            for spread, by_seeds in counted.items()
        ),
    )


def slashed(rates: Iterable[float]) -> str:
    """Rates one after the other, in words."""
    return " / ".join(map(percent, rates)) + " %"


def largest(counted: Counted, *key: object) -> str:
    """The largest of a rate over the spreads, at each number of seeds."""
    return slashed(max(by_seeds[s][key] for by_seeds in counted.values()) for s in SEEDS)


def mean(counted: Counted, *key: object) -> str:
    """A rate at each number of seeds, averaged over the spreads."""
    return slashed(
        float(np.mean([by_seeds[s][key] for by_seeds in counted.values()])) for s in SEEDS
    )


def summary(family: Family, counted: Counted, seen: Detected, ordered: Ordered) -> list[str]:
    """What follows from the tables: sentences that hold whatever the numbers in them are."""
    lines = []
    for method, name in (
        (ALL, f"Plain t, one family of all {len(family.slides)} comparisons"),
        (PLAIN, f"Plain t, a family of {SMALL}"),
        (MODERATED, f"Moderated t, a family of {SMALL}"),
    ):
        lines.append(
            f"- {name}: family-wise error at most {largest(counted, 'false', 'nothing', method)}. "
            f"A true difference of 1 point is found with probability "
            f"{mean(counted, 'found', '1 point', method)}, one of 2 points with "
            f"{mean(counted, 'found', '2 points', method)}, the slides' differences with "
            f"{mean(counted, 'found', 'slides', method)} on average."
        )
    lines.append(
        f'- "No difference beyond {MARGIN:g} point" by moderated t: said of at most '
        f"{largest(counted, 'equivalent', MODERATED, MARGIN)} of the comparisons whose true "
        f"difference is {MARGIN:g} point, and of {mean(counted, 'equivalent', MODERATED, 0.0)} of "
        "those whose true difference is 0."
    )

    spread, group = next(iter(spreads_of(family))), ORDERS[0][0]
    detected = slashed(seen[spread, s][MODERATED][1] for s in SEEDS)
    lines.append(
        f"- What a study by moderated t calls detectable with probability {paired_tests.POWER:g}, "
        f"the next study finds with {detected}."
    )
    for rule in ("tau", "all pairs"):
        none = [ordered[group, s]["no order", rule] for s in SEEDS]
        slides = [ordered[group, s]["the slides'", rule] for s in SEEDS]
        lines.append(
            f"- An order of four rows by {rule}: where there is none, reproduced or not reproduced "
            f"in {slashed(map(sum, none))}; where the slides' is true, reproduced in "
            f"{slashed(rate for rate, _ in slides)}."
        )
    return lines


def setting(family: Family, studies: int, seed: int) -> list[str]:
    """What was simulated."""
    n = len(family.slides)
    priors = "; ".join(
        f"{name}: {prior.df:.1f} degrees of freedom at {np.sqrt(prior.variance):.2f} points"
        for m, name in MEASURES.items()
        for prior in [prior_of(family, m)]
    )
    shared = ", ".join(f"{family.shared[m]:.2f} ({name})" for m, name in MEASURES.items())
    return [
        f"Made by `python benchmarks/simulate_verdicts.py --studies {studies} --seed {seed}`: "
        f"{studies} simulated studies for each number of seeds and spread, so that a rate of 5 % "
        f"comes out with a standard error of {percent((0.05 * 0.95 / studies) ** 0.5)} %.",
        "",
        f"A study has the {n} different comparisons of accuracy that the claims make on the laptop "
        "scale, and all rows that these share. Each row has its own noise, so that comparisons "
        "with a row in common have a correlation of 0.5; in the committed records its median is "
        f"{shared}. True variances of the differences are drawn anew for each study, *records*: "
        "from the sample variances of the committed records, whose own scatter exaggerates how "
        "much variances differ; *prior*: from the scaled inverse chi-squared distribution fitted "
        f"to them ({priors}). The prior of a moderated t is fitted in each study to all {n}.",
        "",
    ]


def errors(counted: Counted) -> list[str]:
    """Tables of wrong decisions."""
    decided = {
        f"{method}; {words}": (kind, scenario, method)
        for kind, scenario, words in (
            ("false", "nothing", "no rows differ"),
            ("false", "half", "six of the twelve differ by 2 points"),
            ("wrong sign", "slides", "the slides' differences, wrong sign"),
        )
        for method in METHODS
    }
    names = {"plain t": PLAIN, "moderated t": MODERATED, LOUD: LOUD}
    return [
        "## Wrong decisions",
        "",
        "Studies that decide any comparison which has no difference (or, last, another sign), %:",
        "",
        *rates_table(counted, ["test and truth"], decided),
        "One comparison without a difference, p below 5 % before any correction, %. The last lines "
        "are what a common prior costs: a comparison that varies more than most is trusted too "
        "much.",
        "",
        *rates_table(counted, ["test"], {n: ("single", key) for n, key in names.items()}),
        "Degrees of freedom of the prior that the studies fit, quartiles. Where they scatter, few "
        "seeds do not tell how alike the variances are, and a moderated t is too sure in the "
        "studies that take them for the same (inf):",
        "",
        *table(
            ["spread"],
            (
                (
                    [spread],
                    [
                        " / ".join(f"{by_seeds[s]['prior', q]:.1f}" for q in QUARTILES)
                        for s in SEEDS
                    ],
                )
                for spread, by_seeds in counted.items()
            ),
        ),
    ]


def power(family: Family, counted: Counted) -> list[str]:
    """Tables of right decisions."""
    found = {
        f"{method}; {scenario}": ("found", scenario, method)
        for scenario in ("1 point", "2 points", "slides")
        for method in METHODS
    }
    spread, at_seeds = next(iter(counted.items()))
    gaps = (
        (
            [name, f"{family.slides[i]:+.2f}".replace("-", "−"), method],
            [*numbers],
        )
        for i, name in enumerate(family.names)
        if family.slides[i]
        for method in (ALL, MODERATED)
        for numbers in [cells(at_seeds, "found", "slides", method, i)]
    )
    return [
        "## Right decisions",
        "",
        "Share of the twelve comparisons that are decided with the right sign, %:",
        "",
        *rates_table(counted, ["test; true differences"], found),
        f"The primary comparisons of which the slides have a number, each (spread: {spread}), %:",
        "",
        *table(["comparison", "points", "test"], gaps),
    ]


def equivalence(counted: Counted) -> list[str]:
    """Tables of the verdict of equivalence."""
    one = {
        f"{method[:-4]}; {truth:g}": ("equivalent", method, truth)
        for method in (PLAIN, MODERATED)
        for truth in TRUTHS
    }
    anywhere = {method: ("any equivalent", method) for method in (PLAIN, MODERATED)}
    return [
        f"## No difference beyond {MARGIN:g} point",
        "",
        "One comparison is called equivalent, %; right where the true difference is below the "
        "margin:",
        "",
        *rates_table(counted, ["test; true difference, points"], one),
        "Any of twelve whose true difference is the margin, %; the verdict is not corrected for "
        "their number:",
        "",
        *rates_table(counted, ["test"], anywhere),
    ]


def detectable(found: Detected) -> list[str]:
    """Table of what is said to be detectable, and whether it is detected."""
    rows = (
        (
            [spread, method[:-4]],
            [
                f"{found[spread, s][method][0]:.2f} ({percent(found[spread, s][method][1])} %)"
                for s in SEEDS
            ],
        )
        for spread in dict.fromkeys(spread for spread, _ in found)
        for method in (PLAIN, MODERATED)
    )
    return [
        "## The detectable difference",
        "",
        f"Median of the difference, points, that a study says it finds with probability "
        f"{paired_tests.POWER:g} before correction, and in brackets how often a second study with "
        "the same true variances finds a difference of just that size:",
        "",
        *table(["spread", "test"], rows),
    ]


def orders(counted: Ordered, spread: str) -> list[str]:
    """Table of the rules for a claimed order."""
    rows = (
        (
            [group, truth, rule],
            [" / ".join(map(percent, counted[group, seeds][truth, rule])) for seeds in SEEDS],
        )
        for group, _ in ORDERS
        for truth, rule in counted[group, SEEDS[0]]
    )
    return [
        "## Orders",
        "",
        'Studies whose verdict is "reproduced" / "not reproduced", %. *tau*: one interval of '
        "Kendall's tau per seed; *all pairs*: every pair of rows decided as claimed / any decided "
        f"against it, without correction. Spread: {spread}.",
        "",
        *table(["order", "true means", "rule"], rows),
    ]


def run(family: Family, seeds: tuple[int, ...], studies: int, seed: int) -> Counted:
    """Every spread at every number of seeds; each has random numbers of its own."""
    return {
        name: {
            s: count(
                family, simulate(np.random.default_rng((seed, i, s)), family, spread, s, studies)
            )
            for s in seeds
        }
        for i, (name, spread) in enumerate(spreads_of(family).items())
    }


def make_page(studies: int, seed: int) -> str:
    """Simulate, and say in Markdown what came out."""
    family = read_family()
    spreads = spreads_of(family)
    spread = next(iter(spreads))
    counted = run(family, SEEDS, studies, seed)

    # random numbers of their own, so that a change of one part leaves the others as they are
    seen: Detected = {
        (name, s): detectable_rates(
            np.random.default_rng((seed, 10 + i, s)), family, spreads[name], s, studies // 5
        )
        for i, name in enumerate((spread, "prior, best epoch"))
        for s in SEEDS
    }
    ordered: Ordered = {
        (group, s): order_rates(
            np.random.default_rng((seed, 20 + i, s)), values, spreads[spread], s, studies
        )
        for i, ((group, _), values) in enumerate(zip(ORDERS, family.orders))
        for s in SEEDS
    }
    lines = [
        "# How often the verdicts are wrong",
        "",
        f"Numbers stand for {' / '.join(map(str, SEEDS))} seeds. Holm's correction at "
        f"{100 * ALPHA:.0f} %. Family-wise error: the share of studies that decide any comparison "
        "although no rows differ. *At most*: the largest of the spreads below; other numbers are "
        "means over them.",
        "",
        *summary(family, counted, seen, ordered),
        "",
        *setting(family, studies, seed),
        *errors(counted),
        *power(family, counted),
        *equivalence(counted),
        *detectable(seen),
        *orders(ordered, spread),
    ]
    return "\n".join(map(wrapped, lines)).rstrip() + "\n"


def wrapped(line: str) -> str:
    """A line of prose on lines of the documents' width; a table's line as it is."""
    if line.startswith("|"):
        return line
    indent = "  " if line.startswith("- ") else ""
    return textwrap.fill(line, 110, subsequent_indent=indent, break_on_hyphens=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=1000, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation (default: 0)")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/benchmarks"), help="folder (default: %(default)s)"
    )
    args = parser.parse_args()
    gc.freeze()  # statsmodels collects garbage in every call: spare it what lives for good
    page = make_page(args.studies, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "verdicts.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
