"""A process that starts the runs of one workflow without importing torch again.

Importing torch takes longer than a smoke run. The workflow offers a worker to the processes that it
starts (`offer`): a private folder, whose name they find in ROBUSTFL_WORKER. The first run starts
the server there (`worker_server`), which imports what runs need and then forks a child per run; on
a CUDA device, where processes take turns, a run is a thread with a stream of its own.

What a run gets from the worker is what a plain process gets. Nothing is handed over but the
arguments and the standard streams: everything else that a process inherits, and a library may read,
must be the same for the caller and the server (`context`), or the run is a plain process and says
what differs. Whatever else goes wrong before the server has accepted a run means a plain process
too.

The server ends with the workflow, however that ends; its runs belong to their callers. Without an
offer, as in a job of a cluster or in a single `robustfl train`, there is no worker, and
ROBUSTFL_WORKER=off switches it off for a whole workflow.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import robustfl
from robustfl.files import locked

WORKER = "ROBUSTFL_WORKER"  # the environment's name for the folder of an offered worker, or OFF
OFF = "off"
START = 120.0  # seconds a run waits for a server that imports torch
SERVER = (
    "from robustfl import cli; "
    "from robustfl.execution import worker_server; worker_server.serve(cli.main)"
)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# Lines of /proc/self/status that a process hands on to its children.
INHERITED = (
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Cpus_allowed_list",
    "Mems_allowed_list",
)
# Variables that a shell counts with: no run depends on them.
OF_THE_SHELL = ("_", "SHLVL")


def offer() -> None:
    """Let the runs that this process starts share a worker, which ends with this process.

    Nothing is started yet. A process that finds ROBUSTFL_WORKER set leaves it as it is.
    """
    if WORKER in os.environ:
        return
    folder = Path(tempfile.mkdtemp(prefix="robustfl-"))  # for this user alone, mode 0700
    call = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        call.bind(str(folder / "call"))
    except OSError as error:
        print(f"no worker ({error}: {folder}); every run is a plain process", file=sys.stderr)
        folder.rmdir()
        return

    # the server holds a connection to this socket, which ends with this process
    call.listen()
    os.environ[WORKER] = str(folder)
    atexit.register(_withdraw, call, folder)


def _withdraw(call: socket.socket, folder: Path) -> None:
    call.close()
    shutil.rmtree(folder, ignore_errors=True)


def submit(argv: list[str], shared: bool = False) -> int | None:
    """Run `robustfl argv` in the offered worker with this process's streams.

    shared: a server that this call starts runs threads instead of children. Returns the run's exit
    status, or None where it has to be a plain process; why is said in one line, where there is an
    offer.
    """
    folder = os.environ.get(WORKER, OFF)
    if folder == OFF:
        return None
    try:
        connection = _connect(Path(folder), shared)
        request = json.dumps({"argv": argv, "context": context()}).encode()
        socket.send_fds(connection, [b"\n"], [0, 1, 2])
        connection.sendall(request + b"\n")

        # the server's first line: what differs, empty where it has accepted the run
        answers = connection.makefile()
        answer = answers.readline()
        if not answer:
            raise ConnectionResetError("it ended")
        differences = json.loads(answer)
    except OSError as error:
        why = _last_words(Path(folder)) or error
        print(f"no worker ({why}); running plainly", file=sys.stderr)
        return None
    if differences:
        print(f"no worker (another {', '.join(differences)}); running plainly", file=sys.stderr)
        return None

    # signals are handed on to the run, whose status is waited for
    connection.settimeout(None)
    handed_on = []

    def hand_on(number: int, frame: object) -> None:
        handed_on.append(number)
        connection.send(bytes([number]))

    for number in SIGNALS:
        signal.signal(number, hand_on)
    return _status(answers.readline(), handed_on)


def _status(answer: str, handed_on: list[int]) -> int:
    """The run's exit status; of a run that died without one, what its last signal means."""
    if answer:
        return int(answer)
    if handed_on:
        return 128 + handed_on[-1]
    print("robustfl: the run's process died; the same command goes on from there", file=sys.stderr)
    return 1


def context() -> dict[str, str | int]:
    """What a process inherits or has read when it started, by name, for a comparison.

    The same for two processes: a run in a child of one is a run in a child of the other. Raises
    OSError where the system does not say (it has no /proc).
    """
    process = Path("/proc/self")
    lines = (line.partition(":\t") for line in _text(process / "status").splitlines())
    status = {name: value for name, _, value in lines}
    values: dict[str, str | int] = {name.lower(): status.get(name, "") for name in INHERITED}

    # limits and places that the lines above leave out
    values["nice"] = os.getpriority(os.PRIO_PROCESS, 0)
    values["scheduling"] = os.sched_getscheduler(0)
    for name in ("limits", "oom_score_adj", "cgroup"):
        values[name] = _text(process / name)
    values["namespaces"] = " ".join(
        os.readlink(process / "ns" / name) for name in sorted(os.listdir(process / "ns"))
    )
    values["root"] = os.readlink(process / "root")
    values["folder"] = os.getcwd()

    # what runs: interpreter, its options, and the sources by time and size
    package = Path(robustfl.__file__).parent
    sources = sorted(
        (str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in package.rglob("*.py")
    )
    values |= {"python": sys.executable, "flags": str(sys.flags), "sources": str(sources)}

    # the whole environment: libraries read theirs when they are imported
    names = os.environ.keys() - set(OF_THE_SHELL)
    return values | {f"${name}": os.environ[name] for name in names}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _connect(folder: Path, shared: bool) -> socket.socket:
    """A connection to the server in `folder`, started if there was none. Raises OSError."""
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
        raise PermissionError(f"{folder} must be a folder of this user alone")

    # a server that died has left its socket, and is not started again
    path = folder / "runs"
    with locked(folder / "lock"):
        if not path.exists():
            _start(folder, path, shared)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(START)
    connection.connect(str(path))
    return connection


def _start(folder: Path, path: Path, shared: bool) -> None:
    """Start the server. Its socket is there at once, so that callers wait in its queue."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(128)
        with open(folder / "log", "wb") as log:
            subprocess.Popen(
                [sys.executable, "-c", SERVER, str(listener.fileno()), str(shared)],
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C reaches runs through their callers, once
            )


def _last_words(folder: Path) -> str:
    """Why a server has gone, as far as its log says it."""
    try:
        return (_text(folder / "log").splitlines() or [""])[-1]
    except OSError:
        return ""
