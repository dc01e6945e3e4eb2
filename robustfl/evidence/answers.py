"""The primary claims, each answered at the largest scale whose runs can test it.

A scale with few images has many seeds and a network that memorises; one with all images has the
slides' size and few seeds. What a claim needs is measured at each, see
robustfl.evidence.claims.preconditions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from robustfl.evidence import claims
from robustfl.evidence.claims import Outcome, Verdict
from robustfl.evidence.report.verdict_tables import last_epoch_of
from robustfl.evidence.tables import StudyRecords, gather_finished, seeds_found
from robustfl.study import experiments
from robustfl.study.experiments import CONFIG_DIR, Scale

LEAST_SEEDS = 2  # with one there is no interval


@dataclass(frozen=True)
class Answer:
    """One primary comparison at one scale."""

    scale: Scale
    images: int  # training images, the held-out ones among them
    verdict: Verdict
    last: Verdict | None  # the same comparison by the last epoch

    @property
    def place(self) -> tuple[str, str, str]:
        """Where it stands: scale, claim and comparison."""
        c = self.verdict.comparison
        return self.scale.name, c.claim.key, c.part

    @property
    def tests(self) -> bool:
        """Whether the runs of this scale can test the claim at all."""
        e = self.verdict.estimate
        testable = self.verdict.outcome is not Outcome.NOT_TESTABLE
        return testable and e is not None and e.seeds >= LEAST_SEEDS


def at_every_scale(config: dict, directory: Path = CONFIG_DIR) -> list[Answer]:
    """Every primary comparison at every scale that has runs of it, most images first.

    A scale with published tables is read by the study that they were made from. Scales whose
    statement is a warning say nothing. Raises RecordError for a broken record.
    """
    found = []
    for scale in experiments.scales(directory).values():
        gathered = None if scale.warn else _gathered(scale, config, directory)
        if gathered is None:
            continue
        judged = claims.verdicts(gathered)
        for v in judged:
            if v.primary:
                found.append(Answer(scale, _images(gathered, v), v, last_epoch_of(judged, v)))
    return sorted(found, key=lambda answer: -answer.images)


def _gathered(scale: Scale, config: dict, directory: Path) -> StudyRecords | None:
    """The finished runs of the scale's groups and those of primary claims; None without any."""
    folder = Path(config["results"]) / scale.name
    seeds = seeds_found(folder)
    if not seeds:
        return None
    published = folder / "study"
    own = published if (published / "experiments.yaml").exists() else directory
    plain = {key: value for key, value in config.items() if key not in ("seeds", "groups")}
    if own is directory:
        # a rung of the ladder trains rows that are those of other groups at its size
        named = {
            side.group
            for claim in claims.load(own / "claims.yaml")
            if claim.primary
            for sides in claims.sides_of(claim)
            for side in (*sides, *claims.further_sides(claim, sides[0]).values())
        }
        usual = experiments.load(scale.name, plain, own).groups
        plain |= {"groups": sorted({*usual, *named})}
    study = experiments.load(scale.name, plain | {"seeds": seeds}, own)
    gathered = gather_finished(study, config)
    return gathered if gathered.records else None


def _images(gathered: StudyRecords, v: Verdict) -> int:
    p = gathered.runs_of(v.comparison.over)[0].metrics["provenance"]
    return p["train_points"] + p["heldout_points"]


def answers(found: list[Answer]) -> list[Answer]:
    """One per primary comparison: the largest scale that tests it, corrected together.

    Where none does, the largest there is, which says why not. found: as at_every_scale gives them.
    """
    chosen: dict[tuple[str, str], Answer] = {}
    for answer in found:
        key = answer.place[1:]
        if key not in chosen or (answer.tests and not chosen[key].tests):
            chosen[key] = answer
    together = claims.corrected([answer.verdict for answer in chosen.values()])
    return [replace(answer, verdict=v) for answer, v in zip(chosen.values(), together)]


def in_order(found: list[Answer], directory: Path = CONFIG_DIR) -> list[Answer]:
    """The answers in the order of the claims in claims.yaml."""
    keys = [claim.key for claim in claims.load(Path(directory) / "claims.yaml")]
    return sorted(found, key=lambda a: keys.index(a.verdict.comparison.claim.key))
