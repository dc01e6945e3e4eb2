"""The process behind `worker_client`: it answers callers, by children or by threads."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from robustfl.execution import worker_client

Main = Callable[..., int]  # main(argv, should_stop=...) -> status, see robustfl.cli.main
Begin = Callable[[socket.socket], None]  # begins the run of a caller


def serve(main: Main) -> None:
    """Body of the server process, until the call that offered it ends.

    Its arguments: the number of its socket, and whether runs share the process.
    """
    listener = socket.socket(fileno=int(sys.argv[1]))
    shared = sys.argv[2] == "True"

    # before anything is imported, which may change the environment; a run has no worker of its own
    context = worker_client.context()
    folder = Path(os.environ.pop(worker_client.WORKER))
    call = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    call.connect(str(folder / "call"))

    import torch._dynamo  # noqa: F401  torch.optim imports it at the first optimizer

    import robustfl.execution.run  # noqa: F401

    begin: Begin
    if shared:
        begin = _Threads(main, context).begin
    else:
        warm_up()
        begin = _Children(main, context, [listener, call]).begin

    # nothing is ever sent on `call`: it is ready when the other end has gone
    while call not in select.select([listener, call], [], [])[0]:
        client, _ = listener.accept()
        begin(client)
    shutil.rmtree(folder, ignore_errors=True)


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


def _accepted(client: socket.socket, context: dict) -> tuple[list[str], list[int]] | None:
    """(arguments, descriptors of the caller's three streams) of a run that this process may do.

    None for a caller that went away, or whose context is another: it is told what differs.
    """
    try:
        _, streams, _, _ = socket.recv_fds(client, 1, 3)
        with client.makefile() as lines:
            request = json.loads(lines.readline())
        theirs = request["context"]
        names = sorted(context.keys() | theirs.keys())
        differences = [name for name in names if context.get(name) != theirs.get(name)]
        client.sendall(json.dumps(differences).encode() + b"\n")
    except (OSError, ValueError):
        return None
    return None if differences else (request["argv"], streams)


def _status(main: Main, argv: list[str], **options: Any) -> int:
    """The exit status of a command, as Python would end with it."""
    try:
        return main(argv, **options)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
        return 1


def _tell(client: socket.socket, status: int) -> None:
    with suppress(OSError):  # the caller may have gone; the run was ended for that
        client.sendall(f"{status}\n".encode())


class _Children:
    """Runs as forked children, which share the imports and nothing else, with the server either."""

    def __init__(self, main: Main, context: dict, sockets: list[socket.socket]) -> None:
        self.main = main
        self.context = context
        self.sockets = sockets

    def begin(self, client: socket.socket) -> None:
        # those that have ended since the last caller came
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        with client, suppress(OSError):  # no process to be had: the caller sees its connection end
            if os.fork() == 0:
                self._run(client)

    def _run(self, client: socket.socket) -> None:
        """The child: become what the caller is, and never return."""
        try:
            for end in self.sockets:
                end.close()
            if accepted := _accepted(client, self.context):
                argv, streams = accepted
                for target, stream in enumerate(streams):
                    os.dup2(stream, target)
                    os.close(stream)
                sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]

                threading.Thread(target=_hand_on, args=(client,), daemon=True).start()
                status = _status(self.main, argv)
                with suppress(OSError, ValueError):
                    sys.stdout.flush()
                _tell(client, status)
        finally:
            os._exit(0)


def _hand_on(client: socket.socket) -> None:
    """Give a caller's signals to the main thread; SIGTERM when the caller has gone.

    Not to the process: a thread that waits for nothing else must not take them from one that waits
    for a lock.
    """
    run = threading.main_thread().ident
    assert run is not None
    with suppress(ConnectionError):
        while number := client.recv(1):
            signal.pthread_kill(run, number[0])
    signal.pthread_kill(run, signal.SIGTERM)


_OWN = threading.local()  # of a run's thread: `streams`, its caller's files by number


class _PerThread:
    """sys.stdout or sys.stderr of a server of threads: each run writes to its own caller."""

    def __init__(self, default: Any, number: int) -> None:
        self.default = default
        self.number = number

    def __getattr__(self, name: str) -> Any:
        stream = getattr(_OWN, "streams", {}).get(self.number, self.default)
        return getattr(stream, name)


class _Threads:
    """Runs as threads of one process: on a GPU, kernels of different streams run side by side.

    The process ends with the last of them.
    """

    def __init__(self, main: Main, context: dict) -> None:
        self.main = main
        self.context = context

        # print() of a run must reach its caller, not the log of the server
        sys.stdout = _PerThread(sys.stdout, 1)  # type: ignore[assignment]
        sys.stderr = _PerThread(sys.stderr, 2)  # type: ignore[assignment]

    def begin(self, client: socket.socket) -> None:
        threading.Thread(target=self._run, args=(client,)).start()

    def _run(self, client: socket.socket) -> None:
        with client:
            if (accepted := _accepted(client, self.context)) is None:
                return
            argv, streams = accepted
            os.close(streams[0])
            encoding = sys.stdout.encoding  # as of any process with this environment
            _OWN.streams = {n: os.fdopen(streams[n], "w", encoding=encoding) for n in (1, 2)}

            # a thread gets no signals: at a word of its caller, or its end, it stops after an epoch
            status = _status(
                self.main, argv, should_stop=lambda: bool(select.select([client], [], [], 0)[0])
            )
            for file in _OWN.streams.values():
                with suppress(OSError):
                    file.close()
            _tell(client, status)
