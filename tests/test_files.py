"""Atomic writes and locks, with a full disk, a kill and a second holder."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from robustfl import files
from robustfl.files import locked, write_atomically


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


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "old")
    code = """
import sys, time
from robustfl.files import write_atomically

def slowly(file):
    file.write(b"half")
    file.flush()
    print("begun", flush=True)
    time.sleep(60)

write_atomically(sys.argv[1], slowly)
"""
    command = [sys.executable, "-c", code, str(path)]
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
