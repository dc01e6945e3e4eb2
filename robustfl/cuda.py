"""CUDA streams and recordings of graphs in a process whose threads train several runs on one device.

torch hands out 32 streams in turn, again and again, so that two runs may meet on one: a recording there would take up the
other's work, or refuse it. And it can record one graph at a time. Neither concerns a CPU, where all of this does nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch
from torch.nn import functional as F

LOCK = (
    threading.Lock()
)  # held while a graph is recorded or dropped, and while anything that a recording forbids is done
STREAMS = 32  # that torch has
_FREE: dict[torch.device, list] = {}  # streams of runs that ended
_MADE: dict[torch.device, int] = {}
_RECORDING: dict[
    torch.device, torch.cuda.Stream
] = {}  # the stream of short recordings, from torch's other pool


@contextmanager
def exclusive_stream(device: torch.device) -> Iterator[None]:
    """Work inside goes to a stream that no other run of the process has, after what the caller queued; waited for at the end.

    Raises RuntimeError where all of torch's streams are taken.
    """
    if device.type != "cuda":
        yield
        return
    with LOCK:
        stream = _next_stream(device)
    try:
        with torch.cuda.device(device):
            with (
                LOCK,
                torch.cuda.stream(stream),
            ):  # this thread's handles of cuBLAS and cuDNN are made not beside a recording
                x = torch.ones(1, 1, 8, 8, device=device)
                F.conv2d(x, x[:, :, :3, :3]), x[0, 0] @ x[0, 0]
                stream.synchronize()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                yield
                stream.synchronize()
    finally:
        with LOCK:
            _FREE[device].append(stream)


def _next_stream(device: torch.device) -> torch.cuda.Stream:
    free = _FREE.setdefault(device, [])
    if free:
        return free.pop()
    if _MADE.setdefault(device, 0) == STREAMS:
        raise RuntimeError(
            f"runs at once on {device} must need at most {STREAMS} streams; got one more (a pretrained run needs two)"
        )
    _MADE[device] += 1
    return torch.cuda.Stream(device)


def capture_graph(work: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """A graph of what work() queues on the current stream, not the default one; call it with LOCK held.

    Not torch.cuda.graph, which waits for the whole device and empties torch's cache. Where work() or its recording fails, the
    first error is raised and torch's allocator is told, which else would take the recording to go on for ever.
    """
    graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
    graph.capture_begin(pool=pool, capture_error_mode="thread_local")
    try:
        try:
            work()
        except BaseException:
            with suppress(RuntimeError):
                graph.capture_end()
            raise
        graph.capture_end()
    except BaseException:
        with suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
        raise
    return graph


def replay_graph(
    launch: Callable[[int], None], warm: int, steps: int, times: int, device: torch.device
) -> None:
    """launch(warm) as it is, then a graph of launch(steps) `times` times, on the caller's stream; waits for the end.

    launch(n): n launches of kernels that allocate nothing; all are compiled and loaded after launch(warm).
    """
    with torch.cuda.device(device):
        with LOCK:
            launch(warm)  # two threads' first launches of a Triton kernel must not meet
            if not times:
                return
            torch.cuda.current_stream().synchronize()
            if device not in _RECORDING:
                _RECORDING[device] = torch.cuda.Stream(device, priority=-1)
            with torch.cuda.stream(_RECORDING[device]):
                graph = capture_graph(lambda: launch(steps))
        try:
            for _ in range(times):
                graph.replay()
        finally:
            torch.cuda.current_stream().synchronize()
            with LOCK:
                del graph
