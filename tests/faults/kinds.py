"""The faults, a function each: it changes a call, or the files that the call finds.

A function returns False where there is nothing that it could disturb. `borne`: the command must end
well in spite of the fault; otherwise it may refuse, in one clear line.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from faults import host
from faults.host import ROOT
from faults.targets import COVERS, FULL, SMALL_SET
from faults.trial import LIMIT, Call, end_all, everyone
from robustfl.study import packed


@dataclass(frozen=True)
class Kind:
    """A kind of fault; see the options of `kind`."""

    name: str
    inject: Callable[[Call], bool | None]
    borne: bool
    kills: bool
    of_finished: bool
    on: frozenset[str]
    groups: frozenset[str]
    short: str
    needs: str

    def fits(self, target) -> bool:
        return self.on <= target.has


KINDS: dict[str, Kind] = {}


def possible(machine: host.Host) -> list[Kind]:
    """The kinds that this machine can do."""
    return [k for k in KINDS.values() if not k.needs or getattr(machine, k.needs)]


def kind(
    name: str,
    *,
    borne: bool = False,
    kills: bool = False,
    of_finished: bool = False,
    on: str = "",
    groups: str = "",
    short: str = "select",
    needs: str = "",
):
    """Register a fault.

    kills: the command may end without a word. of_finished: it wants to find a finished record.
    on: what the target must have. groups: of each, one call has at most one kind, since they change
    the same thing. short: the target of the short form. needs: an attribute of `Host`.
    """

    def register(inject: Callable[[Call], bool | None]) -> Callable[[Call], bool | None]:
        wanted = frozenset(on.split())
        changes = frozenset(groups.split() or [name])
        KINDS[name] = Kind(name, inject, borne, kills, of_finished, wanted, changes, short, needs)
        return inject

    return register


# ended at a random moment


def _strike(call: Call, number: int, choose: Callable[[subprocess.Popen], list[int]]) -> None:
    delay = call.random.uniform(0.05, 1.1 * call.session.seconds[call.target.name])

    def strike(process: subprocess.Popen) -> None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(delay)
        pids = choose(process)
        call.missed = not pids
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    call.during.append(strike)


def _itself(process: subprocess.Popen) -> list[int]:
    return [process.pid] if process.poll() is None else []


def _another(call: Call) -> Callable[[subprocess.Popen], list[int]]:
    """A job of the workflow, a worker, or one of a worker's runs; the command where it has none."""

    def choose(process: subprocess.Popen) -> list[int]:
        others = [p.pid for p in everyone(call.place) if p.pid != process.pid]
        return [call.random.choice(sorted(others))] if others else _itself(process)

    return choose


@kind("SIGKILL", kills=True, groups="kill", short=f"train {FULL}")
def sigkill(call: Call) -> None:
    _strike(call, signal.SIGKILL, _itself)


@kind("SIGTERM", kills=True, groups="kill", short=f"train {FULL}")
def sigterm(call: Call) -> None:
    _strike(call, signal.SIGTERM, _itself)


@kind("SIGKILL of a job", kills=True, groups="kill", short="workflow, records")
def sigkill_job(call: Call) -> None:
    _strike(call, signal.SIGKILL, _another(call))


@kind("SIGTERM of a job", kills=True, groups="kill", short="workflow, records")
def sigterm_job(call: Call) -> None:
    _strike(call, signal.SIGTERM, _another(call))


@kind("twice at once", borne=True, on="record", groups="kill", short=f"train {FULL}")
def twice(call: Call) -> bool | None:
    """The same command started a moment before; whoever comes second waits, or finds it done."""
    if "workflow" in call.target.has:
        return False
    with open(call.place.root / "other.log", "wb") as log:
        other = subprocess.Popen(
            call.words,
            cwd=call.folder,
            env=call.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def wait() -> None:
        with suppress(subprocess.TimeoutExpired):
            other.wait(LIMIT)
        other.kill()

    call.after.append(wait)
    return None


@kind("lock of a killed process", borne=True, on="record", short=f"train {FULL}")
def killed_holder(call: Call) -> bool | None:
    """Somebody holds the lock that the run waits for, and is killed: as when a node dies."""
    if "workflow" in call.target.has:
        return False
    lock = call.place.run(call.target.runs[0]) / ".lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    program = f"import fcntl, time; f = open({str(lock)!r}, 'a'); fcntl.flock(f, 2); time.sleep(99)"
    holder = subprocess.Popen([sys.executable, "-c", program])

    # the command must find it held
    while not _held(lock):
        time.sleep(0.01)

    def strike(process: subprocess.Popen) -> None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(call.random.uniform(0, 1.0) + call.session.seconds[call.target.name])
        holder.kill()
        holder.wait()

    call.during.append(strike)
    return None


def _held(lock: Path) -> bool:
    with open(lock, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


# disks and limits


@kind("full disk", groups="disk", on="record", short=f"train {FULL}")
def full_disk(call: Call) -> None:
    """What is there fits, and a random part of what comes; there is room again afterwards."""
    end_all(call.place)  # jobs of a killed workflow would go on writing
    disk = call.place.disk
    spare = int(call.random.uniform(0, 800_000))
    if not call.session.host.tmpfs or os.path.ismount(disk):
        call.shell(f"ulimit -f {spare // 512}; ")
        return

    # a page and an inode to every file
    there = sum(p.stat().st_size // 4096 * 4096 + 8192 for p in disk.rglob("*"))
    aside = disk.with_name("aside")
    disk.rename(aside)
    disk.mkdir()
    host.mount(disk, there + spare)
    shutil.copytree(aside, disk, dirs_exist_ok=True, copy_function=shutil.copy)
    shutil.rmtree(aside)
    call.after.append(lambda: host.enlarge(disk, 100_000_000))


@kind("limit of file sizes", groups="disk")
def file_size(call: Call) -> None:
    call.shell(f"ulimit -f {call.random.randint(0, 1000)}; ")


@kind("limit of memory", groups="memory")
def address_space(call: Call) -> None:
    call.shell(f"ulimit -v {call.random.randint(300_000, 4_000_000)}; ")


@kind("limit of open files")
def open_files(call: Call) -> None:
    limit = call.random.randint(8, 80)
    call.shell(f"ulimit -n {limit}; ")
    _inherited(call, "ulimit -n", lambda p: p.rlimit(psutil.RLIMIT_NOFILE)[0] <= limit)


@kind("memory cgroup", kills=True, groups="memory", needs="cgroup")
def memory_cgroup(call: Call) -> None:
    """The kernel kills what does not fit."""
    parent = call.session.host.cgroup
    assert parent is not None
    group = parent / f"faults-{os.getpid()}-{call.random.randrange(10**9)}"
    group.mkdir()
    limit = next(group / name for name in host.LIMITS if (group / name).exists())
    limit.write_text(str(call.random.randint(60, 900) * 1024**2))
    call.shell(f"echo $$ > {group}/cgroup.procs; ")

    def lift() -> None:
        # workers live on in it
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        for _ in range(100):
            with suppress(OSError):
                return group.rmdir()
            time.sleep(0.05)

    call.after.append(lift)


# how a command is started


@kind("no descriptor 0", borne=True, groups="descriptor")
def no_stdin(call: Call) -> None:
    call.closed("<&-")


@kind("no descriptor 1", borne=True, groups="descriptor")
def no_stdout(call: Call) -> None:
    call.closed(">&-")


@kind("no descriptor 2", borne=True, groups="descriptor", short=f"train {FULL}")
def no_stderr(call: Call) -> None:
    call.closed("2>&-")


@kind("umask 077", borne=True)
def umask(call: Call) -> None:
    """Whatever the command makes is for its user alone."""
    before = set(call.place.disk.rglob("*"))
    call.shell("umask 077; ")

    def check() -> str:
        made = [p for p in set(call.place.disk.rglob("*")) - before if p.stat().st_mode & 0o077]
        return f"umask ignored: {', '.join(p.name for p in made)}" if made else ""

    call.checks.append(check)


@kind("nice", borne=True)
def nice(call: Call) -> None:
    call.before += ["nice", "-n", "12"]
    _inherited(call, "nice", lambda p: p.nice() == 12)


def _inherited(call: Call, what: str, holds: Callable[[psutil.Process], bool]) -> None:
    """Every Python process that the command starts, or has started, must have this."""
    without: list[str] = []

    def watch(process: subprocess.Popen) -> None:
        # a server of an earlier call has what that call had
        old = {p.pid for p in everyone(call.place) if p.pid != process.pid}
        while process.poll() is None:
            time.sleep(0.3)
            for one in everyone(call.place):
                with suppress(psutil.Error):
                    if one.pid not in old and one.name().startswith("py") and not holds(one):
                        without.append(" ".join(one.cmdline())[:60])

    call.during.append(watch)
    call.checks.append(lambda: f"{what} ignored by {without[0]}" if without else "")


@kind("locale", borne=True, on="yaml", short=f"train {FULL}")
def locale(call: Call) -> None:
    call.environment |= call.random.choice(call.session.host.locales)


VARIABLES = (
    ("TZ", "Asia/Tokyo"),
    ("TERM", "dumb"),
    ("COLUMNS", "20"),
    ("PYTHONHASHSEED", "7"),
    ("PYTHONDONTWRITEBYTECODE", "1"),
    ("LC_NUMERIC", "de_DE.UTF-8"),
    ("HOME", "/nonexistent"),
    ("PYTHONWARNINGS", "default"),
)


@kind("environment", borne=True)
def environment(call: Call) -> None:
    call.environment |= dict([call.random.choice(VARIABLES)])


@kind("other arithmetic", on="record module", groups="program record", short=f"train {FULL}")
def arithmetic(call: Call) -> bool | None:
    """Other kernels give other numbers: those of a plain run with them, and somebody says so.

    A run that was begun in the usual arithmetic, and goes on in another, has neither's numbers.
    """
    pairs = (("ATEN_CPU_CAPABILITY", "default"), ("ONEDNN_MAX_CPU_ISA", "SSE41"))
    name, value = call.random.choice(pairs)
    run = call.place.run(call.target.runs[0])
    if "pretrained" in call.target.has and not list(call.place.cache.glob("models/*.pt")):
        return False  # it would pretrain in other arithmetic too
    end_all(call.place)
    shutil.rmtree(run, ignore_errors=True)
    call.environment[name] = value
    if call.random.random() < 0.5:
        shutil.copytree(call.session.held(call.target), run)
        call.other_bytes = lambda: call.target.contents(call.place)
    else:
        call.other_bytes = lambda: call.session.expected(call.target, **{name: value})

    def check() -> str:
        same = call.target.contents(call.place) == call.session.expected(call.target)
        told = name in call.text + (run / "metrics.json").read_text()
        return "" if same or told else f"{name} gave other numbers, and no word of it"

    # the same command without the variable would find a record of other numbers
    call.checks.append(check)
    call.afterwards.append(lambda: shutil.rmtree(run, ignore_errors=True))
    return None


@kind("no flock", on="record", short=f"train {FULL}", needs="no_flock")
def no_flock(call: Call) -> None:
    """A file system without locks: done without them, or refused by the file's name."""
    errno = call.random.choice(list(host.ERRNOS.values()))
    library = str(call.session.host.no_flock)
    call.environment |= {"LD_PRELOAD": library, "FLOCK_ERRNO": str(errno)}
    call.expects = str(call.place.root)


@kind(
    "another user",
    borne=True,
    on="record module",
    groups="program record disk",
    short=f"train {COVERS}",
    needs="python",
)
def another_user(call: Call) -> bool | None:
    """A cache that is the first user's: one for a group that writes, or one to read alone."""
    if os.path.ismount(call.place.disk):
        return False
    end_all(call.place)
    place = call.place
    name = call.target.runs[0]
    shutil.rmtree(place.run(name), ignore_errors=True)
    for path in (place.run(name), place.root / "tmp", place.root / "home", place.root / "numba"):
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, host.USER, host.GROUP)

    # the first user is this one, whose files the other may read
    shares = call.random.random() < 0.5
    for folder, _, _ in os.walk(place.cache):
        os.chown(folder, 0, host.GROUP)
        os.chmod(folder, 0o2775 if shares else 0o755)

    # and no home folder, by name or at all
    if call.random.random() < 0.5:
        call.environment["HOME"] = "/nonexistent"
    else:
        del call.environment["HOME"]
    call.user = call.session.host.python
    call.words = call.words[1:]
    return None


@kind("plot settings", borne=True, on="plots", short="report figures")
def plot_settings(call: Call) -> None:
    lines = (
        "text.usetex: True",
        "axes.unicode_minus: False",
        "figure.dpi: 250",
        "path.sketch: 1, 100, 2",
        "svg.image_inline: False",
        "axes.formatter.limits: -1, 1",
    )
    backends = ("", "nonsense", "module://matplotlib_inline.backend_inline")
    if call.random.random() < 0.4:
        call.environment["MPLBACKEND"] = call.random.choice(backends)
        return

    # or a file of settings, as users keep it in their home folder
    settings = call.place.root / "matplotlibrc"
    settings.write_text(call.random.choice(lines) + "\n")
    call.environment["MATPLOTLIBRC"] = str(settings)


# damaged files


def _damage(call: Call, path: Path, flips: bool = True) -> None:
    """Cut a file, empty it, put another text in its place or (flips) flip a bit of it."""
    body = path.read_bytes()
    at = call.random.randrange(max(1, len(body)))
    ways = [body[:at], b"", b"not what was here\n"]
    if flips and body:
        ways.append(body[:at] + bytes([body[at] ^ 1 << call.random.randrange(8)]) + body[at + 1 :])
    path.write_bytes(call.random.choice(ways))


def _one_of(call: Call, paths: list[Path]) -> Path | None:
    return call.random.choice(sorted(paths)) if paths else None


@kind("damaged checkpoint", borne=True, on="checkpoint", groups="record", short=f"train {FULL}")
def checkpoint(call: Call) -> None:
    """The newest, the one before, or both."""
    end_all(call.place)
    run = call.place.run(call.target.runs[0])
    if not list(run.glob("checkpoint.ckpt*")):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(call.session.held(call.target), run)
    there = sorted(run.glob("checkpoint.ckpt*"))
    for path in call.random.choice([there, there[:1], there[-1:]]):
        _damage(call, path)


@kind("damaged model", borne=True, on="pretrained", short=f"train {COVERS}")
def model(call: Call) -> bool | None:
    path = _one_of(call, list(call.place.cache.glob("models/*.pt")))
    if path is None:
        return False
    _damage(call, path)
    return None


@kind("damaged cached data", on="data", short="train from cache")
def cached_data(call: Call) -> bool | None:
    """It is refused by the file's name, with the command that fetches it again."""
    place = call.place
    folder = place.cache / "data/cifar10"
    path = _one_of(call, list(folder.glob("*.npy")))
    if path is None:
        return False
    _damage(call, path)

    def fetch() -> None:
        words = ["data", "fetch", "cifar10", "--cache", str(place.cache)]
        words += ["--source", "folder", "--folder", str(place.root / "set")]
        environment = place.environment(call.session.template.root)
        command = [sys.executable, "-c", SMALL_SET, *words]
        subprocess.run(command, cwd=place.work, env=environment, capture_output=True)

    place.remedies["run `robustfl data fetch cifar10"] = fetch
    return None


@kind("damaged compiled code", borne=True, on="numba")
def compiled(call: Call) -> bool | None:
    paths = [p for p in (call.place.root / "numba").rglob("*") if p.is_file()]
    for path in call.random.sample(sorted(paths), min(len(paths), call.random.randint(1, 8))):
        _damage(call, path)
    return None if paths else False


@kind("partial record", borne=True, on="record", groups="record", short=f"train {FULL}")
def partial_record(call: Call) -> bool | None:
    """Some of the files, some of them damaged, and no metrics.json: a run that was cut short."""
    run = _finished(call)
    (run / "metrics.json").unlink()
    for path in sorted(run.glob("*.*")):
        if call.random.random() < 0.3:
            path.unlink()
        elif call.random.random() < 0.5:
            _damage(call, path)
    return None


@kind(
    "damaged record", on="record module", groups="record", of_finished=True, short=f"train {FULL}"
)
def damaged_record(call: Call) -> bool | None:
    """A finished record with one file cut: it is refused, and made again once it is deleted."""
    run = _finished(call)
    path = _one_of(call, [p for p in run.iterdir() if p.suffix in (".csv", ".json")])
    assert path is not None
    _damage(call, path, flips=False)
    call.place.remedies[str(run)] = lambda: shutil.rmtree(run)
    return None


@kind(
    "damaged packed record",
    on="record module",
    groups="record",
    of_finished=True,
    short=f"train {FULL}",
)
def damaged_packed(call: Call) -> None:
    """The packed copy is cut: it is refused by name, and trained again once it is deleted."""
    name = call.target.runs[0]
    run = _finished(call)
    path = packed.pack(run, name, packed.record.read(run, name).spec)
    shutil.rmtree(run)
    _damage(call, path, flips=False)
    call.place.remedies[str(path)] = path.unlink


def _finished(call: Call) -> Path:
    """A finished record of the target's first run, in its place."""
    end_all(call.place)
    run = call.place.run(call.target.runs[0])
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(call.session.kept(call.target.runs[0]), run)
    return run


@kind("damaged spec.json", on="spec", short="train from spec.json")
def spec_file(call: Call) -> None:
    path = call.place.work / "spec.json"
    _damage(call, path, flips=False)
    whole = call.session.kept(call.target.runs[0]) / "spec.json"
    call.place.remedies["--spec must be"] = lambda: shutil.copy(whole, path)


# wrong numbers, and bytes of the data set


PLANT = """
import sys, torch
from robustfl import cli
from robustfl.training.augment import Images
kind, real, calls = sys.argv.pop(1), Images.augmented, 0
def planted(self, *arguments):
    global calls
    calls += 1
    batch = real(self, *arguments)
    if calls == 5 and kind == "memory":
        raise torch.OutOfMemoryError("planted: tried to allocate 2.00 GiB")
    if calls == 5:
        batch[0, 0, 0, 0] = float("nan")
    return batch
Images.augmented = planted
sys.exit(cli.main(sys.argv[1:]))
"""


def _planted(call: Call, what: str, message: str) -> None:
    call.words = [sys.executable, "-c", PLANT, what, *call.words[3:]]
    call.expects = message


@kind("NaN in a batch", on="record module", groups="program", short=f"train {FULL}")
def planted_nan(call: Call) -> None:
    _planted(call, "nan", "training loss must be finite; got nan")


@kind("device memory", on="record module", groups="program", short=f"train {FULL}")
def planted_memory(call: Call) -> None:
    _planted(call, "memory", "ran out")


@kind(
    "flipped byte of the sample", on="record module", groups="program record", short=f"train {FULL}"
)
def flipped_sample(call: Call) -> None:
    """One byte of the committed data set, in a copy of the package."""
    package = call.place.root / "package"
    if not package.exists():
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "robustfl", package / "robustfl", ignore=ignore)
        shutil.copytree(ROOT / "config", package / "config")

    # both data sets, from their whole files, however often this is done
    for sample in sorted((package / "robustfl/data/sample").glob("*.npz")):
        body = bytearray((ROOT / sample.relative_to(package)).read_bytes())
        body[call.random.randrange(len(body))] ^= 1 << call.random.randrange(8)
        sample.write_bytes(bytes(body))
    for name in ("X.npy", "spec.json"):
        if (call.place.work / name).exists():
            shutil.copy(call.place.work / name, package)
    call.environment["PYTHONPATH"] = str(package)
    call.folder = package
    shutil.rmtree(call.place.run(call.target.runs[0]), ignore_errors=True)
