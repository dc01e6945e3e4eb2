"""Which reading of the slides gives their data covered *and* their accuracies?

This is a joint fit of sixteen numbers.

The slides print data covered and accuracy at 20, 40, 60 and 80 % of two data sets, and neither how
often, nor from which epoch on, nor by which points they select. The groups coverage_* train every
combination; a reading's distance from the slides is the root mean square of its sixteen
differences, all in points: eight of data covered (per cent of the training set), eight of accuracy
lost against training on everything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from robustfl.study import experiments, packed
from robustfl.study.experiments import CONFIG_DIR, Group, Study
from robustfl.study.record import Record
from robustfl.study.run_spec import RunSpec

# group of experiments.yaml -> the slides' table that it is held against
GROUPS = {
    "coverage_cifar10": "speed_cifar10",
    "coverage_fashion_mnist": "speed_fashion_mnist",
}
RATIOS = (0.2, 0.4, 0.6, 0.8)
SCALE = "readings"


@dataclass(frozen=True, order=True)
class Reading:
    """How often, from when on, by which points and by which rule a subset is selected."""

    method: str
    start: int  # the epoch of the first selection, in the study's own epochs
    every: int  # epochs between selections; the number of epochs = once
    space: str  # or `pretrained`: gradients of a finished model

    @classmethod
    def of(cls, spec: RunSpec) -> Reading:
        """The reading that a run is of."""
        every = spec.epochs if spec.pretrained else min(spec.selection_interval, spec.epochs)
        return cls(
            spec.method, spec.warmup + 1, every, "pretrained" if spec.pretrained else spec.embedding
        )


@dataclass(frozen=True)
class Fit:
    """A reading's numbers beside the slides', as {(group, ratio): (ours, theirs)} in points."""

    reading: Reading
    covered: dict[tuple[str, float], tuple[float, float]]
    lost: dict[tuple[str, float], tuple[float, float]]

    @property
    def whole(self) -> bool:
        """Whether all sixteen numbers are there."""
        return len(self.covered) + len(self.lost) == 2 * len(GROUPS) * len(RATIOS)

    @property
    def covered_off(self) -> float:
        """Root mean square of the differences of data covered, points."""
        return rms(self.covered)

    @property
    def lost_off(self) -> float:
        """Root mean square of the differences of accuracy lost, points."""
        return rms(self.lost)

    @property
    def off(self) -> float:
        """Root mean square of all differences, points: the joint fit."""
        return rms(
            {("covered", *k): v for k, v in self.covered.items()}
            | {("lost", *k): v for k, v in self.lost.items()}
        )


def rms(pairs: dict) -> float:
    """Root mean square of ours - theirs; NaN without a pair."""
    if not pairs:
        return math.nan
    return math.sqrt(sum((ours - theirs) ** 2 for ours, theirs in pairs.values()) / len(pairs))


def fits(config: dict, directory: Path = CONFIG_DIR) -> list[Fit]:
    """Every reading that some run has finished of.

    The best whole one comes first, those with numbers missing last. Raises RecordError.
    """
    # no seeds named: the scale's own
    study = experiments.load(SCALE, config | {"groups": list(GROUPS), "seeds": None}, directory)
    slides = experiments.read_yaml(Path(directory) / "slides.yaml")
    covered: dict[Reading, dict] = {}
    lost: dict[Reading, dict] = {}
    for key, table in GROUPS.items():
        records = _finished(study, study.groups[key], config)
        full = [run.metrics["best_top1"] for run in records if run.spec.method == "full"]
        top = slides[table]["100%"]["best"]
        for reading, ratio, runs in _by_reading(records):
            published = slides[table][f"{100 * ratio:.0f}%"]
            share = _mean([100 * run.metrics["covered"] for run in runs])
            covered.setdefault(reading, {})[key, ratio] = share, 100 * published["covered"]
            # accuracy is lost against full training, which may not have run yet
            if full:
                change = _mean([run.metrics["best_top1"] for run in runs]) - _mean(full)
                lost.setdefault(reading, {})[key, ratio] = change, published["best"] - top

    # the reading itself comes last in the key, so that equals stand in one order everywhere
    candidates = [Fit(reading, covered[reading], lost.get(reading, {})) for reading in covered]
    return sorted(candidates, key=lambda fit: (not fit.whole, fit.off, fit.reading))


def _finished(study: Study, group: Group, config: dict) -> list[Record]:
    runs = Path(config["results"]) / study.scale / "runs"
    records = []
    # rows may share runs: each is read once
    for name in dict.fromkeys(name for row in group.rows for name in row.names):
        spec = study.spec(name)
        if packed.find(runs / name, spec) or (runs / name / "metrics.json").exists():
            records.append(packed.read(runs / name, name, spec))
    return records


def _by_reading(records: list[Record]) -> list[tuple[Reading, float, list[Record]]]:
    """(reading, ratio, its records) of every reading and ratio among the records of one group."""
    runs_of: dict[tuple[Reading, float], list[Record]] = {}
    for run in records:
        if run.spec.method != "full":
            runs_of.setdefault((Reading.of(run.spec), run.spec.ratio), []).append(run)
    return [(reading, ratio, runs) for (reading, ratio), runs in runs_of.items()]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
