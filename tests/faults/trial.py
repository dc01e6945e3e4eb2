"""A trial: some faults to one command, each judged, and the same command undisturbed after them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from faults import host
from faults.host import Host
from faults.targets import GROUP, Place, Target, all_targets, garbage

LIMIT = 150.0  # seconds; a command that takes longer hangs
# What may be found wrong, and what it means.
FINDINGS = {
    "lost": "without the fault, the command failed or hung",
    "differs": "without the fault, it left other bytes than the undisturbed command",
    "silent": "it ended with status 0 and something wrong, absent, ignored or left over",
    "refused": "it failed under a fault that it must bear",
    "unclear": "it failed without one clear line, or with a traceback",
}


@dataclass
class Finding:
    what: str  # a key of FINDINGS
    command: str
    faults: list[str]
    why: str
    text: str  # the command's output, of which the last lines are shown

    def __str__(self) -> str:
        text = " | ".join(self.text.strip().splitlines()[-3:])[-300:]
        return f"{self.what.upper()} {self.command} [{', '.join(self.faults)}] {self.why}: {text}"


@dataclass
class Call:
    """One command about to be started; kinds of faults change it, or the files that it finds.

    before: words that start it, such as `nice -n 12`. user: the same, after all others. during:
    called with the process while it runs. after: lifts the faults. checks: say what is wrong
    although it ended well. afterwards: once it has been judged. expects: words that its output must
    have where it fails. mute: nothing that it says can be heard. there: paths and inodes of the
    files that the command finds; one that it replaces keeps its mode.
    """

    place: Place
    target: Target
    session: Session
    random: random.Random
    words: list[str]
    environment: dict[str, str]
    folder: Path
    before: list[str] = field(default_factory=list)
    user: list[str] = field(default_factory=list)
    during: list[Callable[[subprocess.Popen], None]] = field(default_factory=list)
    after: list[Callable[[], object]] = field(default_factory=list)
    checks: list[Callable[[], str]] = field(default_factory=list)
    afterwards: list[Callable[[], object]] = field(default_factory=list)
    missed: bool = False
    expects: str = ""
    mute: bool = False
    there: frozenset[Path | int] = frozenset()
    text: str = ""  # the output so far
    other_bytes: Callable[[], dict] | None = None  # where the fault asks for other numbers

    def shell(self, words: str) -> None:
        """Start the command from a shell that has done this first."""
        self.before += ["sh", "-c", f'{words}exec "$@"', "sh"]

    def closed(self, redirection: str) -> None:
        """Start the command with a descriptor closed."""
        self.before += ["sh", "-c", f'exec "$@" {redirection}', "sh"]

    def run(self) -> tuple[int | None, str]:
        """(status, output) of the command under its faults; None where it hangs."""
        paths = list(self.place.disk.rglob("*"))
        self.there = frozenset([*paths, *(path.lstat().st_ino for path in paths)])
        process = self.start(subprocess.PIPE)
        reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        watchers = [threading.Thread(target=strike, args=(process,)) for strike in self.during]
        for thread in (reader, *watchers):
            thread.start()
        try:
            status = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            status = None
            end_all(self.place)
        for watcher in watchers:
            watcher.join()
        for lift in self.after:
            lift()

        # a process that outlives the command may hold the pipe open
        reader.join(0.5)
        return status, self.text

    def start(self, output: int) -> subprocess.Popen:
        """The command as its faults start it; output: where it writes."""
        return subprocess.Popen(
            [*self.before, *self.user, *self.words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _read(self, process: subprocess.Popen) -> None:
        """Take the output from a pipe, since a file would be subject to the faults."""
        assert process.stdout is not None
        while part := os.read(process.stdout.fileno(), 65536):
            self.text += part.decode("utf-8", "replace")
        process.stdout.close()


class Session:
    """The undisturbed commands that all trials are held against, made when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # other users must reach their trial's folders
        folder.chmod(0o755)
        self.host = Host(folder / "host")
        self.targets = all_targets()
        self.template = Place(folder / "template")
        self.template.make(None)
        self._make_set()
        self.lock = threading.RLock()
        self.known: dict[tuple, dict] = {}
        self.seconds: dict[str, float] = {}

    def _make_set(self) -> None:
        """The arrays of a data set's folder, of the sample's images."""
        import numpy as np

        from robustfl import data

        for key, array in data.load("cifar10", source="sample").asdict().items():
            np.save(self.template.root / "set" / f"{key}.npy", array)

    def call(self, place: Place, target: Target, draws: random.Random | None = None) -> Call:
        """The target's command, undisturbed as yet."""
        environment = place.environment(self.template.root)
        draws = draws or random.Random(0)
        return Call(place, target, self, draws, target.words(place), environment, place.work)

    def expected(self, target: Target, **environment: str) -> dict:
        """What an undisturbed command leaves; environment: of a command that is not quite that."""
        key = (target.name, *environment.items())
        with self.lock:
            if key not in self.known:
                self._prepare(target)
                call = self.call(self.template, target)
                call.environment |= environment
                target.clear(self.template)
                begin = time.monotonic()
                status, text = call.run()
                assert status == 0, f"undisturbed {target.name}: {text}"
                self.seconds.setdefault(target.name, time.monotonic() - begin)
                self.known[key] = target.contents(self.template)
                self._keep(target, bool(environment))
            return self.known[key]

    def _prepare(self, target: Target) -> None:
        """Records for reports, and spec.json for the run that is given it."""
        if target.name == "train from spec.json":
            name = target.runs[0]
            self.expected(self.targets[f"train {name}"])
            shutil.copy(self.kept(name) / "spec.json", self.template.work)
        if "report" in target.has:
            self.expected(self.targets["workflow, report"])
        if target.name == "report pdf":
            self.expected(self.targets["report tables"])
            self.expected(self.targets["report figures"])

    def _keep(self, target: Target, changed: bool) -> None:
        """Copies of finished records, and of the group's from which reports are made."""
        if target.name == "workflow, report":
            for path in target.made(self.template)[:-1]:
                part = path.relative_to(self.template.results / "smoke")
                shutil.copytree(path, self.folder / "kept" / GROUP / part)
        elif not changed:
            for name in target.runs:
                shutil.copytree(self.template.run(name), self.kept(name), dirs_exist_ok=True)

    def kept(self, name: str) -> Path:
        """A finished record of a run."""
        return self.folder / "kept" / name

    def held(self, target: Target) -> Path:
        """A run of the target that was stopped after its second epoch, with two checkpoints."""
        name = target.runs[0]
        with self.lock:
            folder = self.folder / "held" / name
            if not folder.exists():
                self.expected(target)
                shutil.rmtree(self.template.run(name))
                call = self.call(self.template, target)
                call.during.append(_at_the_second_checkpoint(self.template.run(name)))
                call.run()
                shutil.copytree(self.template.run(name), folder)
            return folder


def _at_the_second_checkpoint(run: Path) -> Callable[[subprocess.Popen], None]:
    def strike(process: subprocess.Popen) -> None:
        while process.poll() is None and not (run / "checkpoint.ckpt.previous").exists():
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)

    return strike


class Trial:
    """One place and one target, to which faults are done until the settling call."""

    def __init__(self, session: Session, target: Target, name: str, draws: random.Random) -> None:
        self.session = session
        self.target = target
        self.random = draws
        self.expected = session.expected(target)
        self.place = Place(session.folder / name, worker=draws.random() < 0.6)
        with session.lock:  # nobody writes into the template meanwhile
            self.place.make(session.template.root)
        self.injected: list[str] = []
        self.findings: list[Finding] = []

        # what the target's command finds
        if "report" in target.has:
            shutil.copytree(session.folder / "kept" / GROUP, self.place.results / "smoke")
        if "spec" in target.has:
            shutil.copy(session.kept(target.runs[0]) / "spec.json", self.place.work)
        if "workflow" in target.has:
            self.place.remedies["--unlock"] = self._unlock
        target.clear(self.place)

    def _unlock(self) -> None:
        """What snakemake tells the user to do after it was killed."""
        call = self.session.call(self.place, self.target)
        call.words = [*call.words, "--unlock"]
        call.run()

    def forget_caches(self) -> None:
        """Let the command make its pretrained model, its data set and its compiled code itself."""
        for folder in (self.place.cache, self.place.root / "numba"):
            shutil.rmtree(folder)
            folder.mkdir()

    def disturb(self, kinds: list) -> None:
        """One call under as many of these faults as it can be given; then its judgement."""
        if self._complete() and not any(kind.of_finished for kind in kinds):
            self.target.clear(self.place)
        call = self.session.call(self.place, self.target, self.random)
        done = [kind for kind in kinds if kind.inject(call) is not False]
        if not done:
            return
        status, text = call.run()
        done = [kind for kind in done if not (call.missed and "kill" in kind.groups)]
        self.injected += [kind.name for kind in done]
        self._judge(call, done, status, text)
        self._follow(text)
        for tidy in call.afterwards:
            tidy()

    def _judge(self, call: Call, done: list, status: int | None, text: str) -> None:
        killed = any(kind.kills for kind in done)
        told = any(words in text for words in self.place.remedies)
        bears = all(kind.borne for kind in done) and not told
        if status is None:
            self._found("lost", done, "hangs", text)
        elif status == 0:
            if wrong := self._differs(call) or " ".join(filter(None, (c() for c in call.checks))):
                self._found("silent", done, wrong, text)
        elif killed:
            if "Traceback" in text:
                self._found("unclear", done, f"status {status}", text)
        elif bears:
            self._found("refused", done, f"status {status}", text)
        elif call.mute and "Traceback" not in text:
            pass  # its status is all that a command without stderr can say
        elif not clear(text):
            self._found("unclear", done, f"status {status}", text)
        elif call.expects not in text and not told and sum(not k.borne for k in done) == 1:
            # of several faults that may stop it, any may have been the first
            self._found("unclear", done, f"status {status}, without {call.expects!r}", text)

    def settle(self, even_if_done: bool = True) -> None:
        """The same command without a fault, and with what refusals told the user to do.

        even_if_done: also where the faulted command has left all that it should.
        """
        call = self.session.call(self.place, self.target)
        status = 0
        text = ""
        for _ in range(5 if even_if_done or self._differs(call) else 0):
            call = self.session.call(self.place, self.target)
            status, text = call.run()
            if status == 0 or not self._follow(text):
                break
        if status != 0:
            self._found("lost", [], f"status {status}", text)
        elif wrong := self._differs(call):
            self._found("differs", [], wrong, text)
        elif left := garbage(self.place):
            self._found("silent", [], f"left over: {', '.join(left)}", text)

    def _follow(self, text: str) -> bool:
        """Do what a refusal tells the user to do; False where it tells nothing."""
        told = [words for words in self.place.remedies if words in text]
        for words in told:
            self.place.remedies[words]()
        return bool(told)

    def end(self) -> None:
        """Nothing of the trial runs on, or lies about."""
        end_all(self.place)
        host.unmount(self.place.disk)
        shutil.rmtree(self.place.root, ignore_errors=True)

    def _complete(self) -> bool:
        try:
            return bool(self.target.contents(self.place))
        except (OSError, ValueError, KeyError):
            return False

    def _differs(self, call: Call) -> str:
        """What is wrong with the command's output; empty where it is the undisturbed one's."""
        expected = call.other_bytes() if call.other_bytes else self.expected
        try:
            contents = self.target.contents(self.place)
        except (OSError, ValueError, KeyError) as error:
            return f"not whole: {error!r}"
        differing = [k for k in expected | contents if expected.get(k) != contents.get(k)]
        return f"other bytes of {', '.join(differing)}" if differing else ""

    def _found(self, what: str, done: list, why: str, text: str) -> None:
        faults = [kind.name for kind in done] or [*self.injected, "settled"]
        self.findings.append(Finding(what, self.target.name, faults, why, text[-2000:]))


def clear(text: str) -> bool:
    """A refusal says what is wrong in a line of its own, and shows no traceback."""
    lines = text.splitlines()
    own = any(line.startswith(("robustfl", "Error", "WorkflowError")) for line in lines)
    return own and "Traceback" not in text


def everyone(place: Place) -> list[psutil.Process]:
    """All processes of a trial, known by the temporary folder that they inherit."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("TMPDIR") == str(place.root / "tmp"):
                found.append(process)
    return found


def end_all(place: Place) -> None:
    """Kill what is left of a trial, and wait until it is gone."""
    for process in (left := everyone(place)):
        with suppress(psutil.Error):
            os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs(left, timeout=10)
