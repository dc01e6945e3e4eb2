"""The warm process behind `worker_client`: the loop that answers requests, and runs as children or as threads."""

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
from contextlib import suppress
from pathlib import Path

IDLE = 60.0  # seconds without a run after which the server ends; ROBUSTFL_WORKER_IDLE in the environment overrides it


def start(main) -> None:
    """Body of the server process; its socket and whether runs share the process are the arguments. main(argv) -> status."""
    path, shared = Path(sys.argv[1]), sys.argv[2] == "True"
    import torch._dynamo  # noqa: F401  torch.optim imports it at the first optimizer

    import robustfl.execution.run  # noqa: F401

    if not shared:
        warm_up()
    serve(
        path,
        main,
        float(os.environ.get("ROBUSTFL_WORKER_IDLE", IDLE)),
        _Threads if shared else _Children,
    )


def warm_up() -> None:
    """A tiny run and a set cover, so that the children of this process find compiled selectors and kernels loaded. One
    thread, since threads do not survive a fork."""
    import tempfile

    import numpy as np
    import torch

    from robustfl.execution.run import Options, train_or_resume
    from robustfl.selection import select
    from robustfl.study.run_spec import RunSpec

    torch.set_num_threads(1)
    spec = RunSpec(
        sample=True,
        subset=64,
        test_subset=20,
        model="resnet8",
        epochs=1,
        batch_size=32,
        method="facility_location",
        ratio=0.5,
    )
    with tempfile.TemporaryDirectory() as folder:
        train_or_resume(spec, Path(folder) / "warm.ckpt", Options(device="cpu", cache=folder))
    select(
        np.random.default_rng(0).random((50, 4), dtype=np.float32), method="set_cover", ratio=0.5
    )


def serve(path: Path, main, idle: float, kind: type) -> None:
    """Answer requests with main(argv) until nothing has run for `idle` seconds."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(128)
    wake, ping = socket.socketpair()
    ping.setblocking(False)
    watch = selectors.DefaultSelector()
    watch.register(listener, selectors.EVENT_READ)
    watch.register(wake, selectors.EVENT_READ)
    runs, clients = kind(main, ping, (listener, wake, ping)), {}  # run -> its client
    try:
        while True:
            events = watch.select(None if clients else idle)
            if not events and not clients:
                return
            for key, _ in events:
                if key.fileobj is listener:
                    client, _ = listener.accept()
                    request = _receive(client)
                    if request:
                        run = runs.begin(*request, client, list(clients.values()))
                        clients[run] = client
                        watch.register(client, selectors.EVENT_READ, run)
                elif key.fileobj is wake:
                    wake.recv(4096)
                else:  # a signal for the run, or the client has gone
                    word = _word(key.fileobj)
                    runs.signal(key.data, word[0] if word else signal.SIGTERM)
                    if not word:
                        watch.unregister(key.fileobj)
            for run, status in runs.ended(list(clients)):
                client = clients.pop(run)
                if client in {key.fileobj for key in watch.get_map().values()}:
                    watch.unregister(client)
                with suppress(OSError):  # the client may have gone; its run was ended for that
                    client.sendall(status.to_bytes(4, "big", signed=True))
                client.close()
    finally:
        path.unlink(missing_ok=True)


def _word(client: socket.socket) -> bytes:
    try:
        return client.recv(1)
    except ConnectionError:
        return b""


def _receive(client: socket.socket) -> tuple[dict, array.array] | None:
    """(request, the client's three streams), or None when the client went away before it had asked."""
    try:
        head, ancillary, _, _ = client.recvmsg(8, socket.CMSG_SPACE(3 * 4))
        size, body = int.from_bytes(head, "big"), b""
        streams = array.array("i", ancillary[0][2])
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

    def __init__(self, main, ping: socket.socket, inherited: tuple[socket.socket, ...]) -> None:
        self.main, self.inherited = main, inherited
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(ping.fileno())

    def begin(
        self, request: dict, streams, client: socket.socket, others: list[socket.socket]
    ) -> int:
        server, pid = os.getpid(), os.fork()
        if pid == 0:
            self._run(request, streams, server, [*self.inherited, client, *others])
        for stream in streams:
            os.close(stream)
        return pid

    def signal(self, pid: int, number: int) -> None:
        os.kill(pid, number)

    def ended(self, pids: list[int]) -> list[tuple[int, int]]:
        done = [os.waitpid(pid, os.WNOHANG) for pid in pids]
        codes = [(pid, os.waitstatus_to_exitcode(status)) for pid, status in done if pid]
        return [(pid, 128 - code if code < 0 else code) for pid, code in codes]

    def _run(self, request: dict, streams, server: int, sockets: list[socket.socket]) -> None:
        """The child: become what the client asked for, and never return."""
        status = 1
        try:
            ctypes.CDLL(None).prctl(
                1, signal.SIGTERM
            )  # PR_SET_PDEATHSIG: the server's death ends the run
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in sockets:
                end.close()
            for target, stream in enumerate(streams):
                os.dup2(stream, target)
                os.close(stream)
            os.chdir(request["folder"])
            os.environ.clear()
            os.environ.update(request["environment"])
            if os.getppid() == server:
                status = self.main([*request["argv"], "--no-worker"])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


class _PerThread:
    """sys.stdout or sys.stderr of a server whose runs are threads: each writes to its own client."""

    def __init__(self, own, number: int) -> None:
        self.own, self.number = own, number

    def _stream(self):
        return getattr(LOCAL, "streams", {}).get(self.number, self.own)

    def __getattr__(self, name: str):
        return getattr(self._stream(), name)


LOCAL = (
    threading.local()
)  # of a run's thread: streams, and `cancelled`, an Event that ends the run after its epoch


class _Threads:
    """Runs as threads of one process: on a GPU, kernels of different streams run side by side."""

    def __init__(self, main, ping: socket.socket, inherited: tuple[socket.socket, ...]) -> None:
        self.main, self.ping, self.cancelled, self.done = main, ping, {}, []
        sys.stdout, sys.stderr = _PerThread(sys.stdout, 1), _PerThread(sys.stderr, 2)

    def begin(
        self, request: dict, streams, client: socket.socket, others: list[socket.socket]
    ) -> threading.Thread:
        event = threading.Event()
        thread = threading.Thread(target=self._run, args=(request, streams, event), daemon=True)
        self.cancelled[thread] = event
        thread.start()
        return thread

    def signal(self, thread: threading.Thread, number: int) -> None:
        self.cancelled[thread].set()

    def ended(self, threads: list[threading.Thread]) -> list[tuple[threading.Thread, int]]:
        done = [item for item in list(self.done) if item[0] in threads]
        for item in done:
            self.done.remove(item)
            del self.cancelled[item[0]]
        return done

    def _run(self, request: dict, streams, event: threading.Event) -> None:
        status = 1
        files = {number: os.fdopen(stream, "w") for number, stream in enumerate(streams) if number}
        os.close(streams[0])
        LOCAL.streams, LOCAL.cancelled = files, event
        try:
            status = self.main([*request["argv"], "--no-worker"])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            for file in files.values():
                with suppress(OSError):
                    file.close()
            self.done.append((threading.current_thread(), status))
            self.ping.send(b"x")
