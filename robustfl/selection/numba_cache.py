"""numba's `njit` with a disk cache that only this user can have written, and that may be damaged.

What is read from the cache is unpickled and run. numba itself takes it from any folder that can be
written, under a name that all can guess, and fails at every call once a file is cut. Here it comes
from a private folder (`files.own_folder`) or not at all, and a file that does not match its
checksum is a miss: the function is compiled again and the file written anew.

The folder is robustfl-numba-UID in NUMBA_CACHE_DIR where that is set, since a site may set it to
one folder for all its users; else in the user's cache folder, else in the temporary one. It is
never `__pycache__`: who installs a package and who runs it are often different users.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher
from numba.core.serialize import dumps

from robustfl.files import own_folder, write_atomically

SHA256 = 32  # bytes of a digest
log = logging.getLogger("robustfl")


def places() -> Iterator[Path]:
    """Folders in which the cache may lie, the first one first."""
    # numba adds its settings to the module while it is imported, where mypy does not see them
    chosen = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    if chosen:
        yield Path(chosen)
        return
    with suppress(RuntimeError):  # a user without a home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    with suppress(OSError):  # no folder that can be written
        yield Path(tempfile.gettempdir())


def find_folder() -> Path | None:
    """The private folder of the first place that can have one; None: compile without a cache."""
    for place in places():
        try:
            return own_folder(place / f"robustfl-numba-{os.geteuid()}")
        except PermissionError as error:
            # absent and unwritable is the common case; what is there and not ours is told
            if error.filename and os.path.lexists(error.filename):
                log.warning("compiled code is not kept here: %s", error)
        except OSError:
            continue
    return None


class CodeCache(NullCache):
    """Compiled code of one function: a file for each signature, processor and version of numba.

    A file holds a sha256 of what follows, the sha256 of the function's source file, and a pickle.
    """

    def __init__(self, function: Callable, folder: Path) -> None:
        self.function = function
        self.folder = folder
        self.source = Path(function.__code__.co_filename)
        self.stamp = hashlib.sha256(self.source.read_bytes()).digest()

    @property
    def cache_path(self) -> str:
        return str(self.folder)

    def load_overload(self, sig: Any, target_context: Any) -> CompileResult | None:
        """The code of a signature; None, and a line in the log, where the file is no such code."""
        target_context.refresh()
        path = self._path(sig, target_context.codegen())
        try:
            whole = _read_own(path)
            digest, stamp, code = whole[:SHA256], whole[SHA256 : 2 * SHA256], whole[2 * SHA256 :]
            if hashlib.sha256(stamp + code).digest() != digest:
                raise ValueError(f"{path} must match its checksum")
            if stamp != self.stamp:  # of other sources, which is no fault
                return None
            return CompileResult._rebuild(target_context, *pickle.loads(code))
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever it is, compiling mends it
            log.warning("compiled code is made anew: %s", error)
            with suppress(OSError):
                path.unlink()
            return None

    def save_overload(self, sig: Any, data: CompileResult) -> None:
        """Keep the code of a signature, where there is room for it."""
        stamped = self.stamp + dumps(data._reduce())
        try:
            whole = hashlib.sha256(stamped).digest() + stamped
            write_atomically(self._path(sig, data.codegen), whole)
        except OSError as error:
            log.warning("compiled code is not kept: %s", error)

    def _path(self, sig: Any, codegen: Any) -> Path:
        name = self.function.__qualname__
        versions = (sys.implementation.cache_tag, numba.__version__)
        key = repr((str(self.source), name, versions, sig, codegen.magic_tuple()))
        return self.folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.nbc"


def _read_own(path: Path) -> bytes:
    """A file's content. Raises PermissionError for a link or another user's file; OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise PermissionError(f"{path} must be this user's")
        return file.read()


FOLDER = find_folder()


def njit() -> Callable[[Callable], Any]:
    """A decorator: the function compiled by numba at its first call, or read from the cache."""

    def decorate(function: Callable) -> Any:
        # nogil: threads that train several runs select at once
        compiled = numba.njit(nogil=True)(function)
        source = function.__code__.co_filename
        # with NUMBA_DISABLE_JIT it is the function itself; in an archive it has no source file
        if FOLDER and isinstance(compiled, Dispatcher) and os.path.isfile(source):
            # all that numba's own enable_caching does
            compiled._cache = CodeCache(function, FOLDER)  # type: ignore[attr-defined]
        return compiled

    return decorate
