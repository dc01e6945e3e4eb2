"""The commands that are disturbed, and what may not differ in what they leave behind."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from faults.host import ROOT
from robustfl.study import experiments, record

# runs of the smoke scale, of a few seconds each
SELECTS = "cifar10-speed-facility_location0.2-seed0"
WEIGHS = "fashion_mnist-robust-symmetric0.4-centrality0.4-ball2-seed0"
COVERS = "cifar10-speed-set_cover0.8621-from_selector_weights-holdout0-feature-shuffled-seed0"
PRETRAINS = "cifar10-speed-full-holdout0-shuffled-seed0"  # what COVERS selects from
FORGETS = "cifar10-speed-forgetting0.6-forgetting-shuffled-seed0"
FULL = "cifar10-robust-symmetric0.4-full-seed0"
GROUP = "released_cifar10"  # the smallest group of the study: four runs

# Two epochs of a data set in the cache: the sample, registered as if it were the whole set.
CACHED = {"train_size": 120, "test_size": 60, "model": "resnet8", "epochs": 2, "batch_size": 32}
SMALL_SET = """
import dataclasses, sys
from robustfl import cli, data
arrays = data.load("cifar10", source="sample")
data.DATASETS["cifar10"] = dataclasses.replace(
    data.DATASETS["cifar10"], sha256=arrays.hashes, train_size=400, test_size=200
)
sys.exit(cli.main(sys.argv[1:]))
"""

PLAIN = experiments.read_yaml(ROOT / "config/config.yaml")
ROBUSTFL = (sys.executable, "-m", "robustfl")


@dataclass
class Place:
    """The folders of one trial: nothing that it disturbs lies elsewhere.

    remedies: words of a refusal -> what these words tell the user to do.
    """

    root: Path
    worker: bool = False  # the workflow offers one to its runs
    remedies: dict[str, Callable[[], object]] = field(default_factory=dict)

    @property
    def disk(self) -> Path:
        """Holds all that is written and may not be lost; a small disk may be mounted there."""
        return self.root / "disk"

    @property
    def results(self) -> Path:
        return self.disk / "results"

    @property
    def cache(self) -> Path:
        return self.disk / "cache"

    @property
    def work(self) -> Path:
        """The working folder: config, the report's source, and nothing that is not asked for."""
        return self.root / "work"

    def run(self, name: str) -> Path:
        return self.results / "smoke/runs" / name

    def make(self, template: Path | None) -> None:
        """Lay out the folders, with the caches of the template; a template has them empty."""
        for folder in (self.disk, self.root / "tmp", self.root / "home", self.work / "report"):
            folder.mkdir(parents=True)

        # what a command reads from its working folder
        shutil.copytree(ROOT / "config", self.work / "config")
        for name in ("summary.typ", "references.yml"):
            shutil.copy(ROOT / "report" / name, self.work / "report")
        np.save(self.work / "X.npy", np.random.default_rng(0).normal(size=(100, 5)))
        (self.work / "logs").mkdir()

        # caches that are full, since making them anew takes longest
        if template:
            shutil.copytree(template / "numba", self.root / "numba")
            shutil.copytree(template / "set", self.root / "set")
            shutil.copytree(template / "disk/cache", self.cache)
        else:
            for folder in (self.root / "numba", self.root / "set", self.cache):
                folder.mkdir()
        self.laid_out = {path.name for path in self.work.iterdir()}

    def environment(self, template: Path) -> dict[str, str]:
        """Of an undisturbed command: every folder that it writes into is the trial's own."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {key: os.environ[key] for key in ("LD_LIBRARY_PATH",) if key in os.environ}
        if not self.worker:
            kept["ROBUSTFL_WORKER"] = "off"
        return kept | {
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.root / "tmp"),
            "HOME": str(self.root / "home"),
            "NUMBA_CACHE_DIR": str(self.root / "numba"),
            "MPLCONFIGDIR": str(template / "matplotlib"),
            "MPLBACKEND": "Agg",
            "OMP_NUM_THREADS": "1",
            "LC_ALL": "C.UTF-8",
        }


@dataclass(frozen=True)
class Target:
    """A command, in a place, and what it must have left there when it ends well.

    contents: raises OSError or ValueError where something is absent or cut. made: the files and
    folders that it makes. has: what faults may look for, such as a checkpoint or plots. weight: how
    often it is drawn. runs: whose records it leaves.
    """

    name: str
    words: Callable[[Place], list[str]]
    contents: Callable[[Place], dict]
    made: Callable[[Place], list[Path]]
    has: frozenset[str]
    weight: int = 1
    runs: tuple[str, ...] = ()

    def clear(self, place: Place) -> None:
        """Take away what the command has made, so that it makes it anew; caches stay."""
        for path in self.made(place):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def all_targets() -> dict[str, Target]:
    """The commands by name."""
    trained = [
        (SELECTS, "numba", 4),
        (WEIGHS, "noise", 4),
        (COVERS, "numba pretrained", 4),
        (FORGETS, "pretrained", 3),
        (FULL, "noise", 3),
    ]
    targets = [_train(name, has, weight) for name, has, weight in trained]
    targets += [_from_file(FULL), _cached(), _select()]
    targets += [_report(what) for what in ("tables", "figures", "pdf")]
    targets += [_records_by_workflow(), _report_by_workflow()]
    return {target.name: target for target in targets}


def _train(name: str, has: str, weight: int) -> Target:
    def words(place: Place) -> list[str]:
        return [*ROBUSTFL, "train", name, "--scale", "smoke", *_where(place, name)]

    return _one_run(f"train {name}", name, words, f"module yaml {has}", weight)


def _from_file(name: str) -> Target:
    """The same run from a spec.json instead of the study's YAML."""

    def words(place: Place) -> list[str]:
        spec = place.work / "spec.json"
        return [*ROBUSTFL, "train", name, "--spec", str(spec), *_where(place, name)]

    return _one_run("train from spec.json", name, words, "module spec noise", 2)


def _cached() -> Target:
    """A run on a data set that is fetched into the cache, from a folder, and verified there."""

    def words(place: Place) -> list[str]:
        source = json.dumps({"source": "folder", "folder": str(place.root / "set")})
        command = [sys.executable, "-c", SMALL_SET, "train", "cached", "--spec", json.dumps(CACHED)]
        return [*command, *_where(place, "cached"), "--set", f"data={source}"]

    return _one_run("train from cache", "cached", words, "data", 3)


def _one_run(
    title: str, name: str, words: Callable[[Place], list[str]], has: str, weight: int
) -> Target:
    def contents(place: Place) -> dict:
        return run_contents(place.run(name))

    kinds = frozenset({"record", "checkpoint", *has.split()})
    return Target(title, words, contents, lambda p: [p.run(name)], kinds, weight, (name,))


def _where(place: Place, name: str) -> list[str]:
    """Where a run is trained, with a checkpoint after every epoch."""
    where = ["--out", str(place.run(name)), "--set", f"cache={place.cache}"]
    return [*where, "--checkpoint-every", "1"]


def _select() -> Target:
    def words(place: Place) -> list[str]:
        out = str(place.disk / "picks.npz")
        return [*ROBUSTFL, "select", "--points", "X.npy", "--ratio", ".2", "--out", out]

    def made(place: Place) -> list[Path]:
        return [place.disk / "picks.npz"]

    kinds = frozenset({"numba", "module"})
    return Target("select", words, lambda p: _bytes(made(p)), made, kinds, 3)


def _report(what: str) -> Target:
    """What is made of finished records: bytes that follow from the records alone."""

    def words(place: Place) -> list[str]:
        command = [*ROBUSTFL, "report", what, "--scale", "smoke", "--set", f'groups=["{GROUP}"]']
        command += ["--set", "epochs=1", "--set", f"results={place.results}"]
        return command + ["--out", str(place.disk / "summary.pdf")]

    def made(place: Place) -> list[Path]:
        smoke = place.results / "smoke"
        parts = {
            "tables": [*smoke.glob("tables/*"), *smoke.glob("study/*")],
            "figures": list(smoke.glob("figures/*")),
            "pdf": [place.disk / "summary.pdf"],
        }
        return parts[what]

    kinds = frozenset({"yaml", "plots", "report"})
    return Target(f"report {what}", words, lambda p: _bytes(made(p)), made, kinds)


def _bytes(paths: list[Path]) -> dict:
    return {path.name: path.read_bytes() for path in paths}


def _records_by_workflow() -> Target:
    """A run, and the one that it selects from, as jobs of the workflow."""
    names = (COVERS, PRETRAINS)

    def words(place: Place) -> list[str]:
        return _snakemake(place, [f"{place.run(name)}/metrics.json" for name in names])

    def contents(place: Place) -> dict:
        return {name: run_contents(place.run(name)) for name in names}

    def made(place: Place) -> list[Path]:
        return [place.run(name) for name in names]

    kinds = frozenset({"workflow", "record", "numba", "pretrained", "yaml"})
    return Target("workflow, records", words, contents, made, kinds, 1, names)


def _report_by_workflow() -> Target:
    """A group's runs, tables, figures and report; what is made of seconds differs by nature."""
    study = experiments.load("smoke", {**PLAIN, "groups": [GROUP]}, ROOT / "config")
    names = tuple(study.specs)

    def words(place: Place) -> list[str]:
        more = [f'groups=["{GROUP}"]', "epochs=1"]
        return _snakemake(place, ["report/summary.pdf"], more)

    def contents(place: Place) -> dict:
        smoke = place.results / "smoke"
        found: dict = {name: run_contents(place.run(name)) for name in names}
        exact = [*smoke.glob("figures/*"), *smoke.glob("study/*"), *smoke.glob("tables/verdicts.*")]
        found |= _bytes(exact)

        # what holds seconds is whole, and the same but for them
        for path in smoke.glob("tables/*.csv"):
            found[path.name] = _without_times(path)
        found["report.json"] = list(json.loads((smoke / "tables/report.json").read_bytes()))
        pdf = (place.work / "report/summary.pdf").read_bytes()
        found["summary.pdf"] = (pdf[:5], pdf.rstrip()[-5:])
        return found

    def made(place: Place) -> list[Path]:
        folders = [place.results / "smoke" / part for part in ("tables", "figures", "study")]
        runs = [place.run(name) for name in names]
        return [*folders, *runs, place.work / "report/summary.pdf"]

    kinds = frozenset({"workflow", "yaml", "plots", "noise"})
    return Target("workflow, report", words, contents, made, kinds, 1, names)


def _snakemake(place: Place, targets: list[str], more: list[str] | None = None) -> list[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--workflow-profile", str(ROOT / "profiles/default"), "--cores", "2", *targets]
    places = [f"results={place.results}", f"cache={place.cache}"]
    return [*command, "--config", "scale=smoke", *places, *(more or [])]


def run_contents(folder: Path) -> dict:
    """What must not differ in a run's record: all but its seconds, its dates and its commit.

    timings.csv: its epochs. Raises OSError, ValueError and KeyError for a record that is not whole.
    """
    metrics = json.loads((folder / "metrics.json").read_bytes())
    origin = metrics.pop("provenance")
    hashes = ("weights_hash", "label_hash", "data_hashes", "train_points", "precision")

    # of the seconds, only that each epoch has them
    timings = (folder / "timings.csv").read_text().splitlines()
    same = ("spec.json", "curves.csv", "classes.csv", "picks.json")
    return {
        "metrics": {k: v for k, v in metrics.items() if k not in ("seconds", "energy")},
        "hashes": {key: origin[key] for key in hashes},
        "timings": [(line.count(","), line.split(",")[0]) for line in timings],
        **{name: (folder / name).read_bytes() for name in same},
    }


def _without_times(path: Path) -> list[list[str]]:
    """A table's cells, without the columns of seconds, dates and the commit."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    timed = ("seconds", "energy", "begin", "end", "commit")
    kept = [i for i, name in enumerate(rows[0]) if not name.startswith(timed)]
    return [[row[i] for i in kept] for row in rows]


def garbage(place: Place) -> list[str]:
    """What a command that has ended well should not have left behind."""
    left = []
    for path in place.disk.rglob("*"):
        half = path.name.endswith((".partial", ".work"))

        # a finished run has its six files and what was set aside; a finished model no checkpoint
        if (path.parent / "metrics.json").exists():
            kept = path.name in (*record.FILES, ".lock") or path.name.endswith(".rejected")
        else:
            is_checkpoint = path.name.endswith((".ckpt", ".ckpt.previous"))
            kept = not (path.parent.name == "models" and is_checkpoint)
        if half or not kept:
            left.append(str(path.relative_to(place.root)))

    # nothing but what was laid out appears in the working folder
    allowed = place.laid_out | {".snakemake", "spec.json"}
    return left + [f"work/{p.name}" for p in place.work.iterdir() if p.name not in allowed]
