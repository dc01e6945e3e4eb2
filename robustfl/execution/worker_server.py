"""The long-lived process behind `worker_client`: it answers requests, by children or by threads."""

from __future__ import annotations

import array
import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

IDLE = 60.0  # seconds without a run, then the server ends; ROBUSTFL_WORKER_IDLE overrides it

Main = Callable[..., int]  # main(argv, should_stop=...) -> status, see robustfl.cli.main
Run = Any  # what a kind of runs knows a run by: the child's pid, or the thread


def start(main: Main) -> None:
    """Body of the server process. Its arguments: the socket, and whether runs share the process."""
    path = Path(sys.argv[1])
    shared = sys.argv[2] == "True"
    import torch._dynamo  # noqa: F401  torch.optim imports it at the first optimizer

    import robustfl.execution.run  # noqa: F401

    if not shared:
        warm_up()
    idle = float(os.environ.get("ROBUSTFL_WORKER_IDLE", IDLE))
    Server(path, main, idle, _Threads if shared else _Children).serve()


def warm_up() -> None:
    """A tiny run and a set cover: children then find compiled selectors and kernels loaded.

    One thread, since threads do not survive a fork.
    """
    import tempfile

    import numpy as np
    import torch

    from robustfl.execution.preparation import Options
    from robustfl.execution.run import train_or_resume
    from robustfl.selection import select
    from robustfl.study.run_spec import RunSpec

    torch.set_num_threads(1)
    spec = RunSpec(
        use_sample=True,
        train_size=64,
        test_size=20,
        model="resnet8",
        epochs=1,
        batch_size=32,
        method="facility_location",
        ratio=0.5,
    )
    with tempfile.TemporaryDirectory() as folder:
        train_or_resume(spec, Path(folder) / "warm.ckpt", Options(device="cpu", cache=folder))
    points = np.random.default_rng(0).random((50, 4), dtype=np.float32)
    select(points, method="set_cover", ratio=0.5)


class Runs(Protocol):
    """How a server's runs are carried out."""

    def begin(
        self,
        request: dict,
        streams: array.array,
        client: socket.socket,
        others: list[socket.socket],
    ) -> Run:
        """Start a run on its client's streams; others: the clients of the other runs."""

    def signal(self, run: Run, number: int) -> None:
        """Hand a signal on to a run."""

    def ended(self, runs: list[Run]) -> list[tuple[Run, int]]:
        """(run, status) of those that have ended, each once."""


class Server:
    """Answers requests with main(argv), until nothing has run for `idle` seconds."""

    def __init__(self, path: Path, main: Main, idle: float, kind: Callable[..., Runs]) -> None:
        self.path = path
        self.idle = idle
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen(128)

        # a run that ends sends a byte, so that the server wakes and looks for it
        self.wake, ping = socket.socketpair()
        ping.setblocking(False)
        self.watch = selectors.DefaultSelector()
        self.watch.register(self.listener, selectors.EVENT_READ)
        self.watch.register(self.wake, selectors.EVENT_READ)
        self.runs = kind(main, ping, (self.listener, self.wake, ping))
        self.clients: dict[Run, socket.socket] = {}

    def serve(self) -> None:
        """Wait for a client, a signal or the end of a run, and act on it, until idle."""
        try:
            while True:
                events = self.watch.select(None if self.clients else self.idle)
                if not events and not self.clients:
                    return
                for key, _ in events:
                    if key.fileobj is self.listener:
                        self.accept()
                    elif key.fileobj is self.wake:
                        self.wake.recv(4096)
                    else:
                        self.forward_signal(key.data)
                self.reap()
        finally:
            self.path.unlink(missing_ok=True)

    def accept(self) -> None:
        """Begin the run that a new client asks for."""
        client, _ = self.listener.accept()

        # a child closes its copies of the other clients: each must see its own connection end
        if request := _receive(client):
            run = self.runs.begin(*request, client, list(self.clients.values()))
            self.clients[run] = client
            self.watch.register(client, selectors.EVENT_READ, run)

    def forward_signal(self, run: Run) -> None:
        """Hand a client's signal on to its run; a client that has gone ends its run."""
        client = self.clients[run]
        try:
            word = client.recv(1)
        except ConnectionError:
            word = b""

        # an ended connection stays readable for good, so it is watched no longer
        self.runs.signal(run, word[0] if word else signal.SIGTERM)
        if not word:
            self.watch.unregister(client)

    def reap(self) -> None:
        """Tell the clients of ended runs their status."""
        for run, status in self.runs.ended(list(self.clients)):
            client = self.clients.pop(run)
            if client in {key.fileobj for key in self.watch.get_map().values()}:
                self.watch.unregister(client)
            with suppress(OSError):  # the client may have gone; its run was ended for that
                client.sendall(status.to_bytes(4, "big", signed=True))
            client.close()


def _receive(client: socket.socket) -> tuple[dict, array.array] | None:
    """(request, the client's three streams), or None when it went away before it had asked."""
    try:
        head, ancillary, _, _ = client.recvmsg(8, socket.CMSG_SPACE(3 * 4))
        size = int.from_bytes(head, "big")

        # the streams come beside the first bytes, as descriptors of this process
        streams = array.array("i", ancillary[0][2])
        body = b""
        while len(body) < size:
            part = client.recv(size - len(body))
            if not part:
                raise EOFError
            body += part
        return json.loads(body), streams
    except (EOFError, IndexError, OSError, ValueError):
        client.close()
        return None


class _Children:
    """Runs as forked children: they share the imports and nothing else."""

    def __init__(
        self, main: Main, ping: socket.socket, inherited: tuple[socket.socket, ...]
    ) -> None:
        self.main = main
        self.inherited = inherited

        # a handler, or the end of a child would not reach the wake-up descriptor
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(ping.fileno())

    def begin(
        self,
        request: dict,
        streams: array.array,
        client: socket.socket,
        others: list[socket.socket],
    ) -> int:
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._run(request, streams, server, [*self.inherited, client, *others])
        for stream in streams:
            os.close(stream)
        return pid

    def signal(self, run: int, number: int) -> None:
        os.kill(run, number)

    def ended(self, runs: list[int]) -> list[tuple[int, int]]:
        waited = [os.waitpid(pid, os.WNOHANG) for pid in runs]
        codes = [(pid, os.waitstatus_to_exitcode(status)) for pid, status in waited if pid]
        return [(pid, 128 - code if code < 0 else code) for pid, code in codes]

    def _run(
        self, request: dict, streams: array.array, server: int, sockets: list[socket.socket]
    ) -> None:
        """The child: become what the client asked for, and never return."""
        status = 1
        try:
            # PR_SET_PDEATHSIG: the server's death ends the run
            ctypes.CDLL(None).prctl(1, signal.SIGTERM)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

            # the client's streams, folder and environment in place of the server's
            for end in sockets:
                end.close()
            for target, stream in enumerate(streams):
                os.dup2(stream, target)
                os.close(stream)
            os.chdir(request["folder"])
            os.environ.clear()
            os.environ.update(request["environment"])

            # a server that died before the call of prctl sends no signal
            if os.getppid() == server:
                status = self.main([*request["argv"], "--no-worker"])
        except SystemExit as end:
            status = _status(end)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


def _status(end: SystemExit) -> int:
    return end.code if isinstance(end.code, int) else 1


_OWN = threading.local()  # of a run's thread: `streams`, its client's files by number


class _PerThread:
    """sys.stdout or sys.stderr of a server of threads: each run writes to its own client."""

    def __init__(self, default: Any, number: int) -> None:
        self.default = default
        self.number = number

    def __getattr__(self, name: str) -> Any:
        stream = getattr(_OWN, "streams", {}).get(self.number, self.default)
        return getattr(stream, name)


class _Threads:
    """Runs as threads of one process: on a GPU, kernels of different streams run side by side."""

    def __init__(
        self, main: Main, ping: socket.socket, inherited: tuple[socket.socket, ...]
    ) -> None:
        self.main = main
        self.ping = ping
        self.cancelled: dict[threading.Thread, threading.Event] = {}
        self.done: list[tuple[threading.Thread, int]] = []

        # print() of a run must reach its client, not the log of the server
        sys.stdout = _PerThread(sys.stdout, 1)  # type: ignore[assignment]
        sys.stderr = _PerThread(sys.stderr, 2)  # type: ignore[assignment]

    def begin(
        self,
        request: dict,
        streams: array.array,
        client: socket.socket,
        others: list[socket.socket],
    ) -> threading.Thread:
        event = threading.Event()
        thread = threading.Thread(target=self._run, args=(request, streams, event), daemon=True)
        self.cancelled[thread] = event
        thread.start()
        return thread

    def signal(self, run: threading.Thread, number: int) -> None:
        """A thread gets no signals: the run ends after its epoch."""
        self.cancelled[run].set()

    def ended(self, runs: list[threading.Thread]) -> list[tuple[threading.Thread, int]]:
        done = [item for item in list(self.done) if item[0] in runs]
        for item in done:  # threads append meanwhile: what is not listed yet stays
            self.done.remove(item)
            del self.cancelled[item[0]]
        return done

    def _run(self, request: dict, streams: array.array, event: threading.Event) -> None:
        status = 1
        files = {
            number: os.fdopen(stream, "w", encoding="utf-8")
            for number, stream in enumerate(streams)
            if number
        }
        os.close(streams[0])
        _OWN.streams = files
        try:
            status = self.main([*request["argv"], "--no-worker"], should_stop=event.is_set)
        except SystemExit as end:
            status = _status(end)
        except BaseException:
            traceback.print_exc()
        finally:
            for file in files.values():
                with suppress(OSError):
                    file.close()
            self.done.append((threading.current_thread(), status))
            self.ping.send(b"x")
