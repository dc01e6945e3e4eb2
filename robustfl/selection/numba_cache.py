"""numba's `njit` with a disk cache that works from a read-only installation.

numba keeps compiled code beside the source, else in the user's cache folder. Where neither can be
written (a read-only image without a home) it would refuse to compile at all; then, unless
NUMBA_CACHE_DIR is set, the temporary folder serves.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numba


def _writable(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)


def cache_folder(beside: Path, home: Path) -> str:
    """The folder to set as numba's cache, or "" where numba's own choice can be written."""
    if _writable(beside / "__pycache__") or _writable(home / ".cache" / "numba"):
        return ""
    return str(Path(tempfile.gettempdir()) / f"robustfl-numba-{os.getuid()}")


# numba adds its settings to the module while it is imported, where mypy does not see them
if not numba.config.CACHE_DIR:  # type: ignore[attr-defined]
    folder = cache_folder(Path(__file__).parent, Path.home())
    numba.config.CACHE_DIR = folder  # type: ignore[attr-defined]

# nogil: threads that train several runs select at once
njit: Callable[..., Any] = partial(numba.njit, cache=True, nogil=True)
