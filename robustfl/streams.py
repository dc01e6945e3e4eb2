"""CUDA streams and recordings of graphs in a process whose threads train several runs on one device.

torch hands out 32 streams in turn, again and again, so that two runs may meet on one: a recording there would take up the
other's work, or refuse it. And it can record one graph at a time. Neither concerns a CPU, where all of this does nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.nn import functional as F

LOCK = threading.Lock()  # held while a graph is recorded or dropped, and while anything that a recording forbids is done
_FREE: dict[torch.device, list] = {}  # streams of runs that ended
_RECORDING: dict[torch.device, object] = {}  # the stream of short recordings, from torch's other pool


@contextmanager
def own(device: torch.device) -> Iterator[None]:
    """Work inside goes to a stream that no other run of the process has, after what the caller queued."""
    if device.type != "cuda":
        yield
        return
    with LOCK, torch.cuda.device(device):
        free = _FREE.setdefault(device, [])
        stream = free.pop() if free else torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):  # this thread's handles of cuBLAS and cuDNN are made here, not beside a recording
            x = torch.ones(1, 1, 8, 8, device=device)
            F.conv2d(x, x[:, :, :3, :3]), x[0, 0] @ x[0, 0]
            stream.synchronize()
    try:
        with torch.cuda.stream(stream):
            yield
            stream.synchronize()
    finally:
        with LOCK:
            free.append(stream)


def replay(launch: Callable[[int], None], warm: int, steps: int, times: int, device: torch.device) -> None:
    """launch(warm) as it is, then a graph of launch(steps) `times` times, on the caller's stream; waits for the end.

    launch(n): n launches of kernels that allocate nothing; all are compiled and loaded after launch(warm).
    """
    with torch.cuda.device(device):
        with LOCK:
            launch(warm)  # two threads' first launches of a Triton kernel must not meet
            if not times:
                return
            torch.cuda.current_stream().synchronize()
            graph = torch.cuda.CUDAGraph()
            if device not in _RECORDING:
                _RECORDING[device] = torch.cuda.Stream(device, priority=-1)
            with torch.cuda.stream(_RECORDING[device]):
                graph.capture_begin(capture_error_mode="thread_local")  # torch.cuda.graph would collect garbage each time
                try:
                    launch(steps)
                finally:
                    graph.capture_end()
        try:
            for _ in range(times):
                graph.replay()
        finally:
            torch.cuda.current_stream().synchronize()
            with LOCK:
                del graph
