"""A long-lived process that starts runs without importing torch again.

Importing torch takes longer than a smoke run. The first `robustfl train` starts a server under a
lock; it imports everything a run needs and waits on a Unix socket. Each request forks a child that
takes over the client's standard streams, folder and environment and runs the command as if it had
been started plainly: runs share nothing but the imports, so a number cannot depend on the worker.
A client that dies ends its run (SIGTERM: the run saves a checkpoint); a server that dies ends its
children and fails its clients. The server ends when idle. Its address holds a digest of interpreter
and sources, so changed code meets a fresh server.

On a CUDA device processes take turns, so there the server does not fork: each run is a thread with
a stream of its own (`shared=True`), one server per device and folder. A run whose client has gone
ends after its epoch.
"""

from __future__ import annotations

import array
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import robustfl
from robustfl.files import locked

START = 60.0  # seconds a client waits for a fresh server
SERVER = (
    "from robustfl import cli; "
    "from robustfl.execution import worker_server; worker_server.start(cli.main)"
)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def home() -> Path:
    """Private folder of this user's servers. Raises OSError when somebody else owns it."""
    folder = Path(tempfile.gettempdir()) / f"robustfl-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(
            f"{folder} must belong to this user; it belongs to uid {folder.stat().st_uid}"
        )
    return folder


def address(shared: bool = False) -> Path:
    """Socket of the server for this interpreter and these sources.

    shared: also for this folder and device.
    """
    # time and size instead of contents: this is asked at every call, and must cost next to nothing
    package = Path(robustfl.__file__).parent
    sources = sorted(
        (str(p.relative_to(package)), p.stat().st_mtime_ns, p.stat().st_size)
        for p in package.rglob("*.py")
    )
    place = [os.getcwd(), os.environ.get("CUDA_VISIBLE_DEVICES")] if shared else []
    digest = hashlib.sha256(
        json.dumps([sys.executable, str(package), sources, place]).encode()
    ).hexdigest()[:16]
    return home() / f"{digest}.sock"


def submit(argv: list[str], shared: bool = False) -> int | None:
    """Run `robustfl argv` in the worker with this process's streams.

    Returns its exit status, or None when there can be no worker.
    """
    try:
        path = address(shared)
        connection = _connect(path, shared)
    except OSError as error:
        print(f"no worker ({error}); running plainly", file=sys.stderr)
        return None
    values = {"argv": argv, "folder": os.getcwd(), "environment": dict(os.environ)}
    request = json.dumps(values).encode()
    with connection:
        # the length, with descriptors of this process's streams beside it; then the request
        streams = array.array("i", [0, 1, 2]).tobytes()
        connection.sendmsg(
            [len(request).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)]
        )
        connection.sendall(request)

        # signals are handed on to the run, whose answer is waited for
        for number in SIGNALS:
            signal.signal(number, lambda number, frame: connection.send(bytes([number])))
        try:
            answer = connection.recv(4)
        except ConnectionError:
            answer = b""
    if len(answer) < 4:
        print(f"robustfl: the worker died; its log: {path.with_suffix('.log')}", file=sys.stderr)
        return 1
    return int.from_bytes(answer, "big", signed=True)


def _connect(path: Path, shared: bool) -> socket.socket:
    """A connection to the server, started if there is none. Raises OSError."""
    with locked(path.with_suffix(".lock")):
        deadline = time.monotonic() + START
        server = None
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(str(path))
                return connection
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()

            # nobody listens: a server that was killed has left its socket
            if server is None:
                path.unlink(missing_ok=True)
                with open(path.with_suffix(".log"), "w", encoding="utf-8") as log:
                    server = subprocess.Popen(
                        [sys.executable, "-c", SERVER, str(path), str(shared)],
                        env=os.environ | {"PYTHONPATH": _python_path(), "OMP_NUM_THREADS": "1"},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
            if server.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"the worker did not start; its log: {path.with_suffix('.log')}")
            time.sleep(0.02)


def _python_path() -> str:
    return os.pathsep.join(
        filter(None, [str(Path(robustfl.__file__).parent.parent), os.environ.get("PYTHONPATH")])
    )
