"""The ladder: does an effect grow, fade or turn with the number of training images?

Every scale with `images` is a rung; all train the rows of the group `ladder`. On each rung a row is
held against full training and against the random subset, seed by seed, as far as it has been run:
what is missing is left out and counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from robustfl.evidence import paired_tests
from robustfl.evidence.paired_tests import Estimate
from robustfl.evidence.tables import display_label, gather_finished, seeds_found
from robustfl.study import experiments
from robustfl.study.experiments import CONFIG_DIR, Row, Scale
from robustfl.study.record import Record

GROUP = "ladder"
MEASURES = {"last_top1": "last epoch", "best_top1": "best epoch"}
REFERENCES = {"random": "the random subset", "full": "full training"}


@dataclass(frozen=True)
class Rung:
    """A scale of the ladder and its finished runs, as records[row][seed].

    rows: all that the group has, run or not.
    """

    scale: Scale
    rows: tuple[Row, ...]
    records: dict[Row, dict[int, Record]]

    def row(self, label: str) -> Row:
        """The row of that label; one that every rule shares."""
        return next(row for row in self.rows if row.label == label)

    def difference(self, row: Row, reference: Row, key: str) -> list[float]:
        """row - reference of a number of metrics.json, one per seed that both have a run of."""
        # by seed, as a stopped campaign leaves rows with different ones
        ours = self.records[row]
        theirs = self.records[reference]
        return [
            ours[s].metrics[key] - theirs[s].metrics[key] for s in sorted(set(ours) & set(theirs))
        ]

    def step(self, row: Row) -> float:
        """By how much one test image changes an accuracy, in points."""
        run = next(iter(self.records[row].values()))
        return 100 / run.metrics["provenance"]["test_points"]


@dataclass(frozen=True)
class Step:
    """One row against one reference on one rung."""

    images: int
    row: str  # as shown, with its rule
    label: str
    reference: str  # a key of REFERENCES
    measure: str  # a key of MEASURES
    values: tuple[float, ...]  # the differences, points, one per seed
    estimate: Estimate
    slides: float | None  # the slides' difference, which is of 50,000 images


def climb(config: dict, directory: Path = CONFIG_DIR) -> list[Rung]:
    """The rungs that any run of the ladder has finished on, fewest images first.

    Raises RecordError.
    """
    climbed = []
    scales = [scale for scale in experiments.scales(directory).values() if scale.images]
    for scale in sorted(scales, key=lambda scale: scale.images):
        folder = Path(config["results"]) / scale.name
        seeds = seeds_found(folder)
        if not seeds:
            continue

        # the study as it would be on these seeds, so that each name has its spec
        study = experiments.load(
            scale.name, config | {"groups": [GROUP], "seeds": seeds}, directory
        )
        found = gather_finished(study, config).records
        rows = study.groups[GROUP].rows
        records = {
            row: {found[name].spec.seed: found[name] for name in row.names if name in found}
            for row in rows
        }
        if any(records.values()):
            climbed.append(Rung(scale, rows, records))
    return climbed


def steps(rungs: list[Rung], directory: Path = CONFIG_DIR) -> list[Step]:
    """Every row of every rung against each reference, both measures, where a seed has both runs."""
    slides = experiments.read_yaml(Path(directory) / "slides.yaml").get("noise_0.4_cifar10", {})
    results = []
    for rung, reference, measure in product(rungs, REFERENCES, MEASURES):
        against = rung.row(reference)
        for row in rung.rows:
            values = rung.difference(row, against, measure)
            if row is against or not values:
                continue

            # the slides report the best epoch alone, so no other measure has their number
            published = [slides.get(label, {}).get("best") for label in (row.label, reference)]
            results.append(
                Step(
                    rung.scale.images,
                    display_label(row),
                    row.label,
                    reference,
                    measure,
                    tuple(values),
                    paired_tests.estimate(values, rung.step(row)),
                    None
                    if None in published or measure != "best_top1"
                    else published[0] - published[1],
                )
            )
    return results


# what the steps of a row say together


def trend(climbed: list[Step]) -> tuple[str, Estimate | None]:
    """(word, change from the lowest to the highest rung) of one row's steps, fewest images first.

    The change is that of the effect's size, so that a loss that becomes larger grows too: `grows`,
    `fades` or `turns` (both ends decided, on either side of 0), each only where the 95 % interval
    of the change excludes 0; `no trend decided` else. The two ends share no image subset, so the
    interval is Welch's; None where an end has one seed.
    """
    low = climbed[0]
    high = climbed[-1]
    if len(climbed) < 2 or min(len(low.values), len(high.values)) < 2:
        return "no trend decided", None
    change = welch(high.values, low.values)
    if change.low is not None and change.high is not None and change.low <= 0 <= change.high:
        return "no trend decided", change

    # the change is decided; a turn needs the sign at both ends decided too
    ends = [paired_tests.decide(step.estimate, 0, math.inf) for step in (low, high)]
    if set(ends) == {paired_tests.REPRODUCED, paired_tests.NOT_REPRODUCED}:
        return "turns", change
    larger = abs(high.estimate.mean) > abs(low.estimate.mean)
    return ("grows" if larger else "fades"), change


def welch(a: tuple[float, ...], b: tuple[float, ...]) -> Estimate:
    """mean(a) - mean(b) of two independent samples of two or more, with Welch's 95 % interval.

    Source: Welch, "The generalization of Student's problem", Biometrika 1947; computed by scipy.
    """
    from scipy import stats

    test = stats.ttest_ind(a, b, equal_var=False)
    low, high = test.confidence_interval(paired_tests.LEVEL)
    mean = sum(a) / len(a) - sum(b) / len(b)
    return Estimate(mean, None, float(low), float(high), min(len(a), len(b)))


def memorised(rungs: list[Rung]) -> list[dict]:
    """What each row has fitted on each rung at its last look.

    fit_true and fit_false: true and false labels fitted, %, means over the row's seeds.
    """
    lines = []
    for rung, row in ((step, row) for step in rungs for row in step.rows if step.records[row]):
        last = [
            [e for e in run.curves if e["fit_false"] is not None][-1]
            for run in rung.records[row].values()
        ]
        line = {"images": rung.scale.images, "row": display_label(row), "seeds": len(last)}
        line |= {key: sum(e[key] for e in last) / len(last) for key in ("fit_true", "fit_false")}
        lines.append(line)
    return lines


def of_row(results: list[Step], row: str, reference: str, measure: str) -> list[Step]:
    """One row's steps, fewest images first."""
    return [s for s in results if (s.row, s.reference, s.measure) == (row, reference, measure)]


def rows_shown(results: list[Step]) -> list[str]:
    """The rows that are lines of the figure, as shown: all but the references themselves."""
    return [row for row in dict.fromkeys(step.row for step in results) if row not in REFERENCES]
