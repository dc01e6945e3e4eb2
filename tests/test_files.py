"""Atomic writes and locks, with a full disk, a kill and a second holder."""

import io
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from shutil import which

import numpy as np
import pytest

from robustfl import files
from robustfl.files import locked, own_folder, user_path, write_atomically


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "content",
    ["line\r\nµ\n", "line\r\nµ\n".encode(), lambda file: file.write(b"line\r\n\xc2\xb5\n")],
)
def test_text_bytes_and_a_writer_give_the_same_file(tmp_path, content):
    write_atomically(tmp_path / "new/folder/file", content)
    assert (tmp_path / "new/folder/file").read_bytes() == b"line\r\n\xc2\xb5\n"
    assert names(tmp_path / "new/folder") == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, call, full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_writer_that_raises_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def broken(file):
        file.write(b"half")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_atomically(path, broken)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_the_previous_file_is_kept_where_asked(tmp_path):
    for text in ("first", "second", "third"):
        write_atomically(tmp_path / "file", text, previous=tmp_path / "before")
    assert (tmp_path / "file").read_text() == "third"
    assert (tmp_path / "before").read_text() == "second"


def test_a_reader_never_sees_a_part(tmp_path):
    path, size = tmp_path / "file", 300_000
    write_atomically(path, "0" * size)
    stop = threading.Event()

    def write(digit: str) -> None:
        while not stop.is_set():
            write_atomically(path, digit * size)

    writers = [threading.Thread(target=write, args=(digit,)) for digit in "12"]
    for writer in writers:
        writer.start()
    try:
        for _ in range(200):
            seen = path.read_text()
            assert len(seen) == size
            assert len(set(seen)) == 1
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert names(tmp_path) == ["file"]


WRITER = """
import sys, time
from robustfl.files import write_atomically

def slowly(file):
    file.write(b"half of")
    file.flush()
    print("begun", flush=True)
    time.sleep(60)

write_atomically(sys.argv[1], slowly)
"""


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "old")
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "begun\n"
        writer.send_signal(signal.SIGKILL)
    assert path.read_text() == "old"

    write_atomically(path, "new")
    assert path.read_text() == "new"


def test_a_lock_is_held_by_one_thread_at_a_time(tmp_path):
    inside, most = [], []

    def work() -> None:
        for _ in range(5):
            with locked(tmp_path / "folder/.lock"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 20


def test_waiting_is_called_once_and_may_give_up(tmp_path):
    def refuse() -> None:
        raise RuntimeError("another has it")

    with locked(tmp_path / ".lock", refuse):
        with pytest.raises(RuntimeError, match="another has it"):
            with locked(tmp_path / ".lock", refuse):
                pass
    with locked(tmp_path / ".lock", refuse):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = """
import sys, time
from robustfl.files import locked

with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", code, str(tmp_path / ".lock")]
    calls = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with locked(tmp_path / ".lock", lambda: (calls.append(1), os.kill(holder.pid, 9))):
            assert calls == [1]


# what is at the path already


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/real").write_text("old")
    (tmp_path / "link").symlink_to("disk/real")
    (tmp_path / "dangling").symlink_to("disk/new/real")
    for name in ("link", "dangling"):
        write_atomically(tmp_path / name, "new")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_text() == "new"
    assert names(tmp_path / "disk") == ["new", "real"]


@pytest.mark.skipif(os.geteuid() != 0, reason="making a device takes root")
def test_a_device_is_written_as_it_is(tmp_path):
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tmp_path / "full", stat.S_IFCHR | 0o666, os.makedev(1, 7))
    write_atomically(tmp_path / "null", "text")
    with pytest.raises(OSError, match=r"No space left on device: '.*/full'"):
        write_atomically(tmp_path / "full", "text")
    for path in tmp_path.iterdir():
        assert stat.S_ISCHR(path.stat().st_mode)


def test_a_pipe_brings_its_reader_everything_or_nothing(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_atomically(tmp_path / "pipe", lambda file: np.savez(file, x=np.arange(3)))
    reader.join()
    assert np.load(io.BytesIO(got[0]))["x"].tolist() == [0, 1, 2]
    assert names(tmp_path) == ["pipe"]


def test_standard_output_is_a_file_too(tmp_path):
    code = "from robustfl.files import write_atomically; write_atomically('/dev/stdout', 'text')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("text", "")


def test_a_folder_is_refused_by_name(tmp_path):
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        write_atomically(tmp_path, "text")
    assert names(tmp_path) == []


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_a_file_keeps_its_mode_and_shows_nobody_more_meanwhile(tmp_path, mode):
    path = tmp_path / "private"
    path.write_text("old")
    path.chmod(mode)

    def look(file):
        file.write(b"new")
        assert os.fstat(file.fileno()).st_mode & 0o777 == 0o600

    write_atomically(path, look)
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == mode


def test_a_new_file_has_what_the_umask_leaves(tmp_path):
    code = """
import os, sys
from robustfl.files import write_atomically
os.umask(0o027)
write_atomically(sys.argv[1], lambda file: print(oct(os.fstat(file.fileno()).st_mode & 0o777)))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "new")]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "0o640\n"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the owner takes root")
def test_root_leaves_a_file_to_its_owner(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "file").chmod(0o640)
    os.chown(tmp_path / "file", 2001, 3000)
    write_atomically(tmp_path / "file", "new")
    about = (tmp_path / "file").stat()
    assert (about.st_uid, about.st_gid, about.st_mode & 0o777) == (2001, 3000, 0o640)


def test_what_a_killed_writer_of_the_same_number_left_is_no_obstacle(tmp_path):
    partial = f".file.{os.getpid()}-{threading.get_native_id()}.partial"
    (tmp_path / partial).symlink_to("elsewhere")
    write_atomically(tmp_path / "file", "new")
    assert names(tmp_path) == ["file"]


def test_what_dead_writers_left_is_cleared_and_a_living_one_is_not_disturbed(tmp_path):
    path = tmp_path / "a [file]*"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [w.stdout.readline() for w in writers] == [b"begun\n"] * 2
    assert len(list(tmp_path.iterdir())) == 2
    writers[0].kill()
    writers[0].wait()

    (tmp_path / ".another file.1-1.partial").touch()
    write_atomically(path, "whole")
    living = f".{path.name}.{writers[1].pid}-{writers[1].pid}.partial"
    assert names(tmp_path) == sorted([living, ".another file.1-1.partial", path.name])
    writers[1].kill()
    writers[1].communicate()
    writers[0].stdout.close()
    write_atomically(path, "again")
    assert names(tmp_path) == [".another file.1-1.partial", path.name]


def test_many_writers_of_one_file_do_not_clear_each_other_away(tmp_path):
    """Each looks for what dead ones have left while the others are about to begin."""
    path = tmp_path / "file"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: write_atomically(path, f"{i}" * 999), range(400)))
    assert names(tmp_path) == ["file"]
    assert path.read_text(encoding="utf-8") in {f"{i}" * 999 for i in range(400)}


# paths and folders


def test_a_leading_tilde_is_a_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert user_path("~/c") == "/home/somebody/c"
    assert user_path("~") == "/home/somebody"
    assert user_path("a/~/b") == "a/~/b"
    with pytest.raises(ValueError, match="must name a known home; got '~no-such-user/c'"):
        user_path("~no-such-user/c")


def test_a_private_folder_is_made_private_or_refused(tmp_path):
    assert own_folder(tmp_path / "new") == tmp_path / "new"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    own_folder(tmp_path / "new")
    (tmp_path / "link").symlink_to("new")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o770)
    (tmp_path / "file").write_text("")
    for name in ("link", "open", "file"):
        with pytest.raises(PermissionError, match=f"must be this user's.*{name}'"):
            own_folder(tmp_path / name)


# locks of others, and none at all


def in_another_process(code: str, *words, preload: str = "", uid: int | None = None):
    command = [sys.executable, "-c", code, *map(str, words)]
    if uid is not None:
        command = ["setpriv", f"--reuid={uid}", "--regid=3000", "--clear-groups", *command]
    environment = os.environ | {"LD_PRELOAD": preload, "PYTHONPATH": os.getcwd()}
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/")


TRY = """
import sys
from robustfl.files import locked
def refuse(): sys.exit("held")
with locked(sys.argv[1], refuse): print("free")
"""


def test_a_lock_file_of_another_user_need_only_be_readable(public_folder):
    with locked(public_folder / ".lock"):
        (public_folder / ".lock").chmod(0o644)
        assert in_another_process(TRY, public_folder / ".lock", uid=2001).stderr == "held\n"
    assert in_another_process(TRY, public_folder / ".lock", uid=2001).stdout == "free\n"

    absent = in_another_process(TRY, public_folder / "absent.lock", uid=2001).stderr
    assert f"Permission denied: '{public_folder}/absent.lock'" in absent


# flock as a file system without it answers, below one folder or everywhere
NO_FLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int flock(int file, int how) {
    char link[64], path[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (readlink(link, path, sizeof path - 1) > 0 && strstr(path, WHERE)) {
        errno = ERROR;
        return -1;
    }
    return ((int (*)(int, int))dlsym(RTLD_NEXT, "flock"))(file, how);
}
"""


def without_flock(folder, error: str, where: str) -> str:
    """A library to preload, under which flock fails for files with `where` in their path."""
    library = folder / f"{error}{len(where)}.so"
    words = ["-shared", "-fPIC", f"-DERROR={error}", f'-DWHERE="{where}"', "-o", str(library)]
    compiled = subprocess.run(["cc", *words, "-xc", "-", "-ldl"], input=NO_FLOCK, text=True)
    assert compiled.returncode == 0
    return str(library)


needs_compiler = pytest.mark.skipif(not which("cc"), reason="the library to preload takes a cc")


@needs_compiler
@pytest.mark.parametrize("error", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_without_locks_one_in_the_temporary_folder_stands_for_it(tmp_path, monkeypatch, error):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    library = without_flock(tmp_path, error, "/lustre/")
    lock = tmp_path / "lustre" / ".lock"
    done = in_another_process(TRY, lock, preload=library)
    assert done.stdout == "free\n"
    assert done.stderr.count("\n") == 1
    assert f"{lock.parent}: the file system has no locks" in done.stderr

    # it holds off other processes that meet the same file system, under whatever path
    hold = TRY.replace('print("free")', "(print('held', flush=True), sys.stdin.read())")
    environment = os.environ | {"LD_PRELOAD": library}
    command = [sys.executable, "-c", hold, str(lock)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        (tmp_path / "link").symlink_to("lustre")
        second = in_another_process(TRY, tmp_path / "link" / ".lock", preload=library)
        assert second.stderr.endswith("held\n") and second.stdout == ""
        holder.stdin.close()


@needs_compiler
def test_no_locks_anywhere_is_an_error_that_names_the_file_and_what_to_do(tmp_path):
    done = in_another_process(
        TRY, tmp_path / ".lock", preload=without_flock(tmp_path, "ENOSYS", "")
    )
    assert done.returncode == 1
    assert "set TMPDIR to a folder of one: '" in done.stderr.splitlines()[-1]
    assert str(tmp_path / ".lock") in done.stderr.splitlines()[-1]
