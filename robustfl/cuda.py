"""CUDA streams and captured graphs in a process whose threads train several runs on one device.

torch hands out 32 streams in turn, again and again, so that two runs may meet on one: a capture
there would include the other's work, or refuse it. And torch can capture one graph at a time.
Neither concerns a CPU, where all of this does nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch
from torch.nn import functional as F

# locked while a graph is captured or dropped, and while anything that a capture forbids is done
LOCK = threading.Lock()
STREAMS = 32  # that torch has per device

_FREE: dict[torch.device, list] = {}  # streams of runs that ended
_MADE: dict[torch.device, int] = {}  # streams taken from torch so far
# the stream of short captures, from torch's other pool, that of high priority
_CAPTURING: dict[torch.device, torch.cuda.Stream] = {}


@contextmanager
def exclusive_stream(device: torch.device) -> Iterator[None]:
    """Work inside goes to a stream that no other run of the process has.

    It starts after what the caller queued, and is waited for at the end. On a CPU nothing happens.
    Raises RuntimeError where all of torch's streams are taken.
    """
    if device.type != "cuda":
        yield
        return
    with LOCK:
        stream = _next_stream(device)
    try:
        with torch.cuda.device(device):
            # create this thread's cuBLAS and cuDNN handles now: creation is forbidden while any
            # thread captures
            with LOCK, torch.cuda.stream(stream):
                x = torch.ones(1, 1, 8, 8, device=device)
                F.conv2d(x, x[:, :, :3, :3])
                torch.matmul(x[0, 0], x[0, 0])
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
            f"runs at once on {device} must need at most {STREAMS} streams; "
            "got one more (a pretrained run needs two)"
        )
    _MADE[device] += 1
    return torch.cuda.Stream(device)


def capture_graph(work: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """A graph of what work() queues on the current stream, which is not the default one.

    Call it with LOCK held. This is not torch.cuda.graph, which waits for the whole device and
    empties torch's cache. Where work() or its capture fails, the first error is raised and torch's
    allocator is told, which would otherwise take the capture to go on for ever.
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
    """launch(warm) as it is, then a graph of launch(steps) `times` times, on the caller's stream.

    It waits for the end. launch(n): n launches of kernels that allocate nothing; all are compiled
    and loaded after launch(warm).
    """
    with torch.cuda.device(device):
        with LOCK:
            # inside the lock: two threads' first launches of a Triton kernel must not meet
            launch(warm)
            if not times:
                return
            torch.cuda.current_stream().synchronize()
            if device not in _CAPTURING:
                _CAPTURING[device] = torch.cuda.Stream(device, priority=-1)
            with torch.cuda.stream(_CAPTURING[device]):
                graph = capture_graph(lambda: launch(steps))
        try:
            for _ in range(times):
                graph.replay()
        finally:
            torch.cuda.current_stream().synchronize()
            with LOCK:
                del graph
