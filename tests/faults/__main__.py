"""The long form: a seeded random mix of all kinds of faults; see the package."""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from faults.host import ROOT
from faults.kinds import KINDS, Kind
from faults.trial import FINDINGS, Finding, Session, Trial


def main() -> int:
    """Trials until so many faults are injected, or Ctrl-C. Returns 1 where anything was found."""
    parser = argparse.ArgumentParser("faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default 0)")
    parser.add_argument("--at-once", type=int, default=2, help="trials at once (default 2)")
    parser.add_argument("--restart", action="store_true", help="count nothing from earlier calls")
    parser.add_argument("--trial", type=int, help="only the trial of this number")
    parser.add_argument("--only", nargs="+", choices=KINDS, help="only these kinds", metavar="KIND")
    arguments = parser.parse_args()

    # SIGTERM as Ctrl-C: what was counted is printed, and the next call goes on from there
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="rfl", dir="/tmp") as folder:
        return Campaign(arguments, Path(folder)).run()


class Campaign:
    """Trials by number, each with random values of its own, and a journal of those that are done.

    The journal is of one seed and one state of the sources: other sources are tried anew.
    """

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.wanted = arguments.faults
        self.seed = arguments.seed
        self.at_once = arguments.at_once
        self.only = set(arguments.only or KINDS)
        self.session = Session(folder)
        self.kinds = [
            k for k in KINDS.values() if not k.needs or getattr(self.session.host, k.needs)
        ]
        self.lock = threading.Lock()
        self.stopped = False
        self.injected: Counter[str] = Counter()
        self.findings: list[Finding] = []
        self.done: set[int] = set()
        self.numbers = iter([arguments.trial] if arguments.trial is not None else range(10**6))

        # a part of all trials, or another choice of kinds, is no part of the whole
        whole = arguments.trial is None and arguments.only is None
        self.journal = ROOT / f"logs/faults/{_digest()}-seed{self.seed}.jsonl" if whole else None
        if self.journal and self.journal.exists():
            if arguments.restart:
                self.journal.unlink()
            else:
                self._go_on(self.journal)

    def _go_on(self, journal: Path) -> None:
        for line in journal.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            self.done.add(entry["trial"])
            self.injected.update(entry["injected"])
            self.findings += [Finding(**finding) for finding in entry["findings"]]
        print(f"{len(self.done)} trials are done already: {journal}", flush=True)

    def run(self) -> int:
        threads = [threading.Thread(target=self._work) for _ in range(self.at_once)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():  # a join without end would keep signals from Python
                    thread.join(0.5)
        except KeyboardInterrupt:
            print("stopping after the trials under way; the same command goes on", flush=True)
            self.stopped = True
            for thread in threads:
                thread.join()
        print(self.summary())
        return int(bool(self.findings))

    def _work(self) -> None:
        while True:
            with self.lock:
                enough = self.injected.total() >= self.wanted
                number = next(self.numbers, None)
            if self.stopped or enough or number is None:
                return
            if number not in self.done:
                try:
                    self._count(number, self._trial(number))
                except BaseException:
                    self.stopped = True
                    raise

    def _trial(self, number: int) -> Trial:
        """One to three calls under one to three faults each, and the settling call."""
        draws = random.Random(f"{self.seed}-{number}")
        targets = list(self.session.targets.values())
        fitting = [t for t in targets if any(k.fits(t) and k.name in self.only for k in self.kinds)]
        (target,) = draws.choices(fitting, [target.weight for target in fitting])
        trial = Trial(self.session, target, f"t{number}", draws)
        try:
            if draws.random() < 0.2:  # the run then makes its own
                trial.forget_caches()
            for _ in range(draws.randint(1, 3)):
                trial.disturb(self._draw(trial, draws))
            trial.settle()
        finally:
            trial.end()
        return trial

    def _draw(self, trial: Trial, draws: random.Random) -> list[Kind]:
        """Kinds for a call, at most one of each group."""
        left = [k for k in self.kinds if k.fits(trial.target) and k.name in self.only]
        drawn: list[Kind] = []
        for _ in range(draws.choice([1, 2, 2, 3])):
            if left:
                drawn.append(draws.choice(left))
                left = [k for k in left if not k.groups & drawn[-1].groups]
        return drawn

    def _count(self, number: int, trial: Trial) -> None:
        with self.lock:
            self.injected.update(trial.injected)
            self.findings += trial.findings
            for finding in trial.findings:
                print(f"trial {number}: {finding}", flush=True)
            if self.journal:
                entry = {"trial": number, "injected": trial.injected}
                entry |= {"findings": [asdict(finding) for finding in trial.findings]}
                self.journal.parent.mkdir(parents=True, exist_ok=True)
                with open(self.journal, "a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")
            total = self.injected.total()
            if total // 25 > (total - len(trial.injected)) // 25:
                print(f"{total} of {self.wanted} faults", flush=True)

    def summary(self) -> str:
        """The one line, after what could not be done here."""
        found = Counter(finding.what for finding in self.findings)
        words = ("runs lost", "results that differ", "silent", "refused without need", "unclear")
        counts = ", ".join(f"{w}: {found[key]}" for w, key in zip(words, FINDINGS))
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.injected.items()))
        lines = [f"not possible here: {what}" for what in self.session.host.missing()]
        total = self.injected.total()
        return "\n".join([*lines, f"faults injected: {total} ({kinds}); {counts}"])


def _digest() -> str:
    """Of the sources that are tried, and of the faults."""
    digest = hashlib.sha256()
    for folder in ("robustfl", "workflow", "config", "tests/faults"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".smk", ".yaml"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


if __name__ == "__main__":
    sys.exit(main())
