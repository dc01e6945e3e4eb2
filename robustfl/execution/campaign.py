"""`make evidence`: the runs of config/evidence.yaml in order of worth, two processes at a time.

A call starts, or goes on with, whatever is left: a finished run is packed into its record at once,
a stopped one goes on from its checkpoint. Nothing is kept but the records, so that a stop costs a
minute of each run under way. Each process has one thread.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustfl.data import DATASETS
from robustfl.execution.cli import spec_words
from robustfl.files import locked
from robustfl.study import experiments, packed, record_list
from robustfl.study.experiments import CONFIG_DIR, StudyError
from robustfl.study.run_spec import RunSpec

# floating point operations per second of one core, until a record of this machine says better
RATE = 60e9


@dataclass(frozen=True)
class Stage:
    """One entry of evidence.yaml's `runs`: rows of a group on some seeds.

    rows, rules: the labels and selection rules of the rows; empty = all.
    """

    scale: str
    group: str
    seeds: tuple[int, ...]
    rows: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """A run to train. stage: the entry of evidence.yaml, counted from 1, that wants it first."""

    scale: str
    group: str
    name: str
    spec: RunSpec
    stage: int


def stages(directory: Path = CONFIG_DIR) -> list[tuple[str, list[Stage]]]:
    """(why, stages) of each entry of evidence.yaml.

    Raises StudyError for a key that a stage does not have.
    """
    entries = []
    for entry in experiments.read_yaml(Path(directory) / "evidence.yaml"):
        try:
            wanted = [_stage(run) for run in entry["runs"]]
        except TypeError as error:
            raise StudyError(f"evidence.yaml: {error}") from error
        entries.append((entry["why"], wanted))
    return entries


def _stage(run: dict) -> Stage:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in run.items()}
    return Stage(**values)


def jobs(config: dict, directory: Path = CONFIG_DIR) -> list[Job]:
    """Every run of evidence.yaml, in order, each once.

    Raises StudyError for a group, row or rule that is not there.
    """
    wanted: dict[tuple[str, str], Job] = {}
    for number, (_, entries) in enumerate(stages(directory), 1):
        for stage in entries:
            for name, spec in _runs(stage, config, directory):
                job = Job(stage.scale, stage.group, name, spec, number)
                wanted.setdefault((stage.scale, name), job)
    return list(wanted.values())


def _runs(stage: Stage, config: dict, directory: Path) -> Iterator[tuple[str, RunSpec]]:
    """(name, spec) of a stage's runs, all rows of a seed before the next seed."""
    asked = config | {"seeds": list(stage.seeds), "groups": [stage.group]}
    study = experiments.load(stage.scale, asked, directory)
    group = study.groups[stage.group]

    # a typo must not pass for a stage that is already done
    for what, wanted, there in (
        ("rows", stage.rows, {row.label for row in group.rows}),
        ("rules", stage.rules, {row.method for row in group.rows}),
    ):
        if unknown := sorted(set(wanted) - there):
            raise StudyError(
                f"evidence.yaml: {what} must be among those of {stage.group}; got {unknown}"
            )
    rows = [
        row
        for row in group.rows
        if row.label in (stage.rows or (row.label,))
        and row.method in (stage.rules or (row.method,))
    ]
    for at in range(len(stage.seeds)):
        yield from ((row.names[at], study.specs[row.names[at]]) for row in rows)


def left(config: dict, directory: Path = CONFIG_DIR) -> list[Job]:
    """The jobs that have no record yet."""
    return [job for job in jobs(config, directory) if not _finished(folder_of(job, config), job)]


def folder_of(job: Job, config: dict) -> Path:
    """Where a job's run is trained."""
    return Path(config["results"]) / job.scale / "runs" / job.name


def _finished(folder: Path, job: Job) -> bool:
    return packed.find(folder, job.spec) is not None or (folder / "metrics.json").exists()


def images(spec: RunSpec) -> float:
    """Forward passes that a run is worth, in images.

    A backward pass counts as two; a test is one pass per image.
    """
    kind = DATASETS[spec.dataset]
    points = (spec.train_size or kind.train_size) * (1 - spec.holdout)
    ratio = 1.0 if spec.method == "full" else (spec.ratio + (spec.ratio_end or spec.ratio)) / 2
    trained = points * (spec.warmup + (spec.epochs - spec.warmup) * ratio)

    # passes over all points, for what is selected and what is only looked at
    looks: float
    if spec.pretrained:
        looks = 1
    elif spec.method in ("full", "random") and spec.weights in ("uniform", "class"):
        looks = 1 + spec.epochs // 10  # no selection needs a pass: every tenth epoch is looked at
    else:
        looks = (spec.epochs - spec.warmup) / spec.selection_interval
    tests = (spec.test_size or kind.test_size) * spec.epochs / spec.test_interval
    return 3 * trained + points * looks + tests


def work(spec: RunSpec) -> float:
    """Floating point operations of a run's passes through the network."""
    from robustfl.training.resnet import forward_flops

    kind = DATASETS[spec.dataset]
    return images(spec) * forward_flops(spec.model, kind.shape, len(kind.classes))


def rate(config: dict) -> float:
    """Floating point operations per second that finished runs reached on this processor.

    RATE before the first of them.
    """
    from robustfl.execution.provenance import device_name

    here = device_name()
    done = 0.0
    seconds = 0.0
    for folder in sorted(Path(config["results"]).glob("*/")):
        for _, record in record_list.records(folder):
            if record.metrics["provenance"]["device_name"] == here:
                done += work(record.spec)
                seconds += sum(record.metrics["seconds"].values())
    return done / seconds if seconds else RATE


def plan(config: dict, at_once: int) -> list[str]:
    """Lines that say what is left of each entry of evidence.yaml, and for about how long."""
    remaining = left(config)
    speed = rate(config)
    lines = []
    total = 0.0
    for number, (why, _) in enumerate(stages(), 1):
        # a run that several entries want counts for the first of them alone
        undone = [job for job in remaining if job.stage == number]
        hours = sum(work(job.spec) for job in undone) / speed / 3600
        total += hours
        amount = f"{len(undone)} runs, {hours:.1f} core-hours" if undone else "done"
        lines.append(f"{number}. {why}: {amount}")

    summary = f"left: {len(remaining)} runs, {total:.1f} core-hours"
    return [*lines, f"{summary}, {total / at_once:.1f} hours {at_once} at once"]


class Campaign:
    """Trains what is left, `at_once` processes at a time; stop() ends them with checkpoints."""

    def __init__(self, config: dict, at_once: int) -> None:
        self.config = config
        self.at_once = at_once
        self.queue = left(config)
        self.total = len(self.queue)
        self.failed: list[Job] = []
        self.stopped = False
        self.running: dict[Path, subprocess.Popen] = {}
        self.lock = threading.Lock()

    def run(self) -> int:
        """Until nothing is left, or stop(). Returns the number of runs that failed.

        Raises StudyError where another call trains into the same results.
        """
        results = Path(self.config["results"])

        def refuse() -> None:
            raise StudyError(
                f"results must have one `robustfl evidence` at a time; {results} has another"
            )

        with locked(results / ".evidence.lock", waiting=refuse):
            threads = [threading.Thread(target=self._work) for _ in range(self.at_once)]
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():  # a join without end would keep signals from Python
                    thread.join(0.5)
        return len(self.failed)

    def stop(self) -> None:
        """No further run is started; those under way save a checkpoint and end."""
        self.stopped = True
        for process in list(self.running.values()):
            process.send_signal(signal.SIGTERM)

    def _work(self) -> None:
        while True:
            with self.lock:
                if self.stopped or not self.queue:
                    return
                job = self.queue.pop(0)

            # a run that stop() has ended is neither done nor failed
            start = time.monotonic()
            status = self._train(job)
            if self.stopped:
                return
            self._say(job, status, time.monotonic() - start)

    def _train(self, job: Job) -> int:
        log = Path("logs") / "evidence" / job.scale / f"{job.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        folder = folder_of(job, self.config)
        command = [sys.executable, "-m", "robustfl", "train", job.name, "--no-worker"]
        command += [*spec_words(job.spec, self.config), "--out", str(folder)]

        # the lowest priority, so that whoever works on the machine does not notice
        with open(log, "a", encoding="utf-8") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=file, preexec_fn=lambda: os.nice(19)
            )
            self.running[log] = process
            if self.stopped:  # stop() came while this process was being started
                process.send_signal(signal.SIGTERM)
            status = process.wait()
            del self.running[log]

        # packed and read back before the folder goes
        if status == 0:
            packed.pack(folder, job.name, job.spec)
            shutil.rmtree(folder)
        return status

    def _say(self, job: Job, status: int, seconds: float) -> None:
        with self.lock:
            if status:
                self.failed.append(job)
                how = f"FAILED with status {status}, see logs/evidence/{job.scale}/{job.name}.log"
            else:
                how = f"done in {seconds / 60:.1f} minutes"
            under_way = len(self.queue) + len(self.running)
            print(f"{job.scale} {job.name}: {how}; {under_way} of {self.total} left", flush=True)
