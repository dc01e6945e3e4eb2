"""Files that survive a full disk, a kill and a second process: atomic writes, locks, folders."""

from __future__ import annotations

import argparse
import errno
import fcntl
import hashlib
import io
import logging
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO

Content = str | bytes | Callable[[BinaryIO], object]
# What flock answers where a file system has none: Lustre without its mount option, NFS without a
# lock service, or NFS for a file that may only be read.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF)
log = logging.getLogger("robustfl")


class PathError(ValueError, argparse.ArgumentTypeError):
    """A path that means nothing here; argparse prints its words as they are."""


def user_path(text: str) -> str:
    """A path of a config or a command line, its leading `~` or `~name` a home folder.

    Raises PathError where there is no such home.

    >>> user_path("results"), user_path("./~")
    ('results', './~')
    """
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise PathError(f"a path that begins with ~ must name a known home; got {text!r}")
    return path


# writing


def write_atomically(path: Path | str, content: Content, previous: Path | None = None) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one, never a part.

    path: absent folders are made. A link stays, and the file that it names is written. A file that
      is there keeps its permissions, and its owner where this user may give files away; other hard
      links to it keep the old content. A device or a pipe is written as it is.
    content: text (written as UTF-8), bytes, or a function that writes into the open file.
    previous: where a file that was at `path` is kept; by default the new one takes its place.

    Raises OSError naming the file, with the old one in place and no other left behind.
    """
    path = Path(path)
    with _naming(path):
        there, named = _stable(path)
        if there is not None and stat.S_ISDIR(there.st_mode):
            raise IsADirectoryError(errno.EISDIR, "a file must not be a folder")
        # a link of /proc (/dev/stdout) has a name that may lead elsewhere, or nowhere
        real = Path(os.path.realpath(path))
        same = there is None or (named is not None and os.path.samestat(there, named))
        if same and (there is None or stat.S_ISREG(there.st_mode)):
            _replace(real, content, there, previous)
        else:
            _write_plainly(path, content)


def _stable(path: Path) -> tuple[os.stat_result | None, os.stat_result | None]:
    """What is at the path, and at the name that its links lead to, at one moment.

    Another process may put a new file there between the two looks, which would make two of one.
    """
    while True:
        before, named, after = _about(path), _about(Path(os.path.realpath(path))), _about(path)
        if before is None or after is None:
            if before is after:
                return before, named
        elif os.path.samestat(before, after):
            return before, named


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Give an OSError that names no file, as that of a full disk, the name of this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def _about(path: Path) -> os.stat_result | None:
    """What is at a path, or behind the link there; None: nothing."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _replace(
    path: Path, content: Content, there: os.stat_result | None, previous: Path | None
) -> None:
    """Write beside `path`, which is no link, then rename; there: the file that it replaces."""
    path.parent.mkdir(parents=True, exist_ok=True)

    # runs may be threads of one process, and two of them may write the same file
    writer = f"{os.getpid()}-{threading.get_native_id()}"
    partial = path.with_name(f".{path.name}.{writer}.partial")
    partial.unlink(missing_ok=True)  # of a killed process that had the same number
    _clear_partials(path)
    try:
        # what is private stays so while it is written; a new file gets what the umask leaves
        descriptor = _begin(partial, 0o666 if there is None else 0o600)
        with open(descriptor, "wb") as file:
            _fill(file, content)
            file.flush()
            if there is not None:
                _keep_permissions(descriptor, there)
            os.fsync(descriptor)

            # while the lock is held, so that nobody takes the file for a dead writer's
            if previous is not None and there is not None:
                os.replace(path, previous)
            os.replace(partial, path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _begin(partial: Path, mode: int) -> int:
    """A descriptor of a new file, locked as long as somebody writes it."""
    while True:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        if _taken(descriptor) is False:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # somebody looks whether its writer is dead
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # cleared away before it was locked


def _clear_partials(path: Path) -> None:
    """Remove what killed writers of `path` have left: a living one holds the lock of its file."""
    for partial in path.parent.glob(f".{escape(path.name)}.*-*.partial"):
        with suppress(OSError):  # gone meanwhile, or another user's
            descriptor = os.open(partial, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                # its writer may have ended well meanwhile, and begun another file of this name
                if _taken(descriptor) and os.path.samestat(os.fstat(descriptor), partial.lstat()):
                    partial.unlink()
            finally:
                os.close(descriptor)


def _fill(file: BinaryIO, content: Content) -> None:
    if callable(content):
        content(file)
    else:
        file.write(content.encode() if isinstance(content, str) else content)


def _keep_permissions(descriptor: int, there: os.stat_result) -> None:
    """Give a new file the owner, group and mode of the one it replaces, or less, never more."""
    mode = stat.S_IMODE(there.st_mode) & 0o777
    about = os.fstat(descriptor)
    if (about.st_uid, about.st_gid) != (there.st_uid, there.st_gid):
        try:
            os.fchown(descriptor, there.st_uid, there.st_gid)
        except PermissionError:
            with suppress(PermissionError):
                os.fchown(descriptor, -1, there.st_gid)
    # what the old group might do is not for another one
    if os.fstat(descriptor).st_gid != there.st_gid:
        mode &= ~0o070
    os.fchmod(descriptor, mode)


def _write_plainly(path: Path, content: Content) -> None:
    """Write into what is there: whole in memory first, since a pipe takes nothing back."""
    whole = io.BytesIO()
    _fill(whole, content)
    with open(os.open(path, os.O_WRONLY | os.O_CLOEXEC), "wb") as file:
        file.write(whole.getbuffer())


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk: without this a crash may undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# folders


def check_folder(folder: Path | str, what: str) -> None:
    """Make a folder if it is absent, and see whether a file can be made in it.

    Raises ValueError naming `what` it is. It is tried, since permissions alone do not say what a
    read-only mount, an access list or a server that distrusts root will do.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"{what} must be a folder that exists or can be made; "
            f"got {str(folder)!r}: {error.strerror}"
        ) from error
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(
            f"{what} must be a writable folder; got {str(folder)!r}: {error.strerror}"
        ) from error


def own_folder(folder: Path) -> Path:
    """The folder itself, made with mode 0700 if absent: nobody else can have put a file there.

    Raises PermissionError where it is a link, another user's, or open to others; OSError where it
    cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    private = stat.S_ISDIR(about.st_mode) and not about.st_mode & 0o077
    if not private or about.st_uid != os.geteuid():
        raise PermissionError(
            errno.EACCES, "a private folder must be this user's, of mode 0700", str(folder)
        )
    return folder


# locks


@contextmanager
def locked(path: Path | str, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, made if absent, against processes and threads.

    waiting: called once where another holds the lock, before this call waits for it; it may raise
    to give up instead. The lock ends with its process, however that ends.

    A lock file that is there need only be readable. Where the file system has no locks, one in the
    temporary folder stands for it, and a line in the log says so: processes of one user and machine
    still wait for each other, others do not. Raises OSError naming the file.
    """
    path = Path(path)
    with ExitStack() as stack:
        with _naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = stack.enter_context(_opened(path))
            taken = _taken(descriptor)
            if taken is None:
                descriptor = stack.enter_context(_opened(_stand_in(path)))
                taken = _taken(descriptor)
                if taken is None:
                    raise OSError(
                        errno.ENOLCK,
                        "file locks must work in this folder or in the temporary one: choose "
                        "another file system, or set TMPDIR to a folder of one",
                    )
        if not taken:
            if waiting is not None:
                waiting()
            with _naming(path):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor of a lock file: to write where allowed, as NFS wants it; else to read."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        # another user's file, or a read-only file system
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool | None:
    """Take a lock that nobody holds; False where somebody does, None where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return None
    return True


def _stand_in(path: Path) -> Path:
    """The lock file in the temporary folder that stands for one where there are no locks."""
    folder = own_folder(Path(tempfile.gettempdir()) / f"robustfl-locks-{os.geteuid()}")
    log.warning(
        "%s: the file system has no locks; one in %s stands for it: let no other machine or user "
        "write there at the same time",
        path.parent,
        folder,
    )
    return folder / f"{hashlib.sha256(os.path.realpath(path).encode()).hexdigest()}.lock"
