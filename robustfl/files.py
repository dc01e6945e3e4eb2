"""Files that survive a full disk, a kill and a second process: atomic writes and locks."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(
    path: Path | str,
    content: str | bytes | Callable[[BinaryIO], object],
    previous: Path | None = None,
) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one, never a part.

    content: text (written as UTF-8), bytes, or a function that writes into the open file.
    previous: where a file that was at `path` is kept; by default the new one takes its place.
    Absent folders are made. Raises OSError, with the old file in place and no other left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)

    # runs may be threads of one process, and two of them may write the same file
    writer = f"{os.getpid()}-{threading.get_native_id()}"
    partial = path.with_name(f".{path.name}.{writer}.partial")
    try:
        with open(partial, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())

        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(partial, path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk: without this a crash may undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path | str, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, made if absent, against processes and threads.

    waiting: called once where another holds the lock, before this call waits for it; it may raise
    to give up instead. The lock ends with its process, however that ends. Raises OSError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        if waiting is not None and not _taken(file.fileno()):
            waiting()
        fcntl.flock(file, fcntl.LOCK_EX)  # at once where it is ours already
        yield


def _taken(descriptor: int) -> bool:
    """Take a lock that nobody holds; False where somebody does."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
