"""torchvision's official downloads.

With the import that a CPU-only torch needs, a short probe of the host, and a bound on silence.
"""

from __future__ import annotations

import socket
import threading
import urllib.request
from pathlib import Path
from types import ModuleType

from robustfl.data.base import DataError

PROBE = 5.0  # seconds until a host counts as unreachable, name resolution included
SILENCE = 30.0  # seconds without a byte until a download counts as dead


def import_datasets() -> ModuleType:
    """torchvision.datasets, also beside a CPU-only torch.

    torchvision's wheel is built for CUDA. Beside a CPU-only torch its `_C` library does not load,
    and the import stops at "operator torchvision::nms does not exist", where fake kernels are
    registered for operators that nothing has declared. Declaring the two schemas (no kernels) is
    enough for data sets and transforms. The plain import is tried first: nothing is declared where
    torchvision is whole. Raises DataError when torch or torchvision is not installed or does not
    import.
    """
    try:
        try:
            from torchvision import datasets
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
            datasets = _import_with_schemas()
    except (ImportError, RuntimeError, OSError) as error:
        raise DataError(f"torchvision does not import: {_line(error)}") from error
    return datasets


def _import_with_schemas() -> ModuleType:
    import sys

    import torch

    # what the failed import left half-made
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from torchvision import datasets

    datasets._robustfl_schemas = library  # a Library withdraws its schemas when it is collected
    return datasets


def unreachable(url: str, seconds: float = PROBE) -> str | None:
    """Ask the host for the URL's headers. None if it answers in time, else the reason in one line.

    In a thread, because name resolution obeys no timeout; proxies from the environment are used as
    urllib does.
    """
    reason: list[str | None] = [f"no answer within {seconds:g} s"]

    def ask() -> None:
        head = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(head, timeout=seconds):
                reason[0] = None
        except (OSError, ValueError) as error:  # OSError: URLError, HTTPError, timeouts, TLS errors
            reason[0] = _line(getattr(error, "reason", error))

    # a daemon: a name server that never answers must not keep the process from ending
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return reason[0]


def download(kind: str, folder: Path) -> None:
    """Let `torchvision.datasets.<kind>` download and unpack into the folder.

    It checks its own md5s. Raises DataError if torchvision is missing; whatever torchvision raises
    (URLError, RuntimeError) passes through.
    """
    cls = getattr(import_datasets(), kind)
    # torchvision opens its URLs without a timeout, and this is the one handle on them
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        cls(str(folder), download=True)
    finally:
        socket.setdefaulttimeout(before)


def _line(error: object) -> str:
    """The error in one line, with its type where the text alone would not say what it is."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
