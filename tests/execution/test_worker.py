"""The warm worker: same bytes as a plain run, and what happens when either side dies."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest
import yaml

SHORT, LONG = "cifar10-speed-random0.2-seed0", "cifar10-robust-symmetric0.4-full-seed0"


@pytest.fixture(scope="module")
def folder():
    """A private worker's TMPDIR, short enough for a socket.

    Its servers end with the tests of this file.
    """
    folder = tempfile.mkdtemp(prefix="rfl", dir="/tmp")
    yield folder
    for pid in servers(folder):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder)


@pytest.fixture
def place(tmp_path, monkeypatch, folder):
    monkeypatch.setenv("TMPDIR", folder)
    monkeypatch.setenv("ROBUSTFL_WORKER_IDLE", "30")
    return tmp_path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """curves.csv and weights of undisturbed, plain runs."""
    place = tmp_path_factory.mktemp("whole")
    for name in (SHORT, LONG):
        assert start(place, name, name, "--no-worker").wait() == 0
    return {name: contents(place / name) for name in (SHORT, LONG)}


def contents(run):
    return (run / "curves.csv").read_bytes(), json.loads((run / "metrics.json").read_text())[
        "provenance"
    ]["weights_hash"]


def servers(folder=None, kind=""):
    """Pids of the running servers whose socket is in `folder`.

    kind: "True" for those whose runs are threads.
    """
    folder = folder or os.environ["TMPDIR"]
    command = ["pgrep", "-f", f"worker_server.start.*{folder}.*{kind}$"]
    pids = subprocess.run(command, capture_output=True, text=True).stdout.split()
    return [int(pid) for pid in pids if int(pid) != os.getpid()]


def start(place, name, out, *words):
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "robustfl",
            "train",
            name,
            "--scale",
            "smoke",
            "--out",
            str(place / out),
            "--set",
            f"cache={place}/cache",
            *words,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_epoch(run):
    for line in run.stdout:
        if "epoch 1/" in line:
            return
    raise AssertionError(run.stderr.read())


def test_worker_gives_the_bytes_of_a_plain_run_alone_or_beside_others(place, whole):
    runs = [start(place, SHORT, f"worker{i}") for i in range(3)]
    for run in runs:
        out, err = run.communicate()
        assert run.returncode == 0, err
        assert "record in" in out
    assert len(servers()) == 1
    assert {contents(place / f"worker{i}") for i in range(3)} == {whole[SHORT]}


def test_errors_and_status_come_back(place):
    broken = start(place, SHORT, "x", "--set", "device=cuda")
    out, err = broken.communicate()
    assert broken.returncode == 2 and "device must be present; got cuda" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_client_that_is_ended_ends_its_run_which_goes_on_later(place, whole, number):
    run = start(place, LONG, "cut")
    wait_for_epoch(run)
    run.send_signal(number)
    run.wait()
    assert run.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    deadline = time.time() + 20
    while not (place / "cut/checkpoint.ckpt").exists():
        assert time.time() < deadline, "the run must leave a checkpoint"
        time.sleep(0.05)
    assert not (place / "cut/metrics.json").exists()
    again = start(place, LONG, "cut")
    out, err = again.communicate()
    assert again.returncode == 0 and "going on after epoch" in out, err
    assert contents(place / "cut") == whole[LONG]


def test_a_server_that_dies_fails_its_client_and_the_run_goes_on_later(place, monkeypatch, folder):
    monkeypatch.setenv("TMPDIR", folder + "/s")
    os.mkdir(folder + "/s")
    run = start(place, LONG, "cut")
    wait_for_epoch(run)
    (server,) = [p for p in servers() if os.getpgid(p) == p and os.getsid(p) == p]
    os.kill(server, signal.SIGKILL)
    out, err = run.communicate()
    assert run.returncode == 1 and "the worker died; its log:" in err
    again = start(place, LONG, "cut")
    out, err = again.communicate()
    assert again.returncode == 0, err
    assert "going on after epoch" in out, "the orphan saved its last epoch"


def test_idle_server_ends(place, monkeypatch, folder):
    monkeypatch.setenv("ROBUSTFL_WORKER_IDLE", "0.2")
    monkeypatch.setenv("TMPDIR", folder + "/i")
    os.mkdir(folder + "/i")
    assert start(place, SHORT, "a").wait() == 0
    deadline = time.time() + 10
    while servers():
        assert time.time() < deadline
        time.sleep(0.05)
    assert start(place, SHORT, "b").wait() == 0, "a new one is started on demand"


def test_no_place_for_a_socket_means_a_plain_run(place, monkeypatch):
    deep = place / ("d" * 100)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    run = start(place, SHORT, "plain")
    out, err = run.communicate()
    assert run.returncode == 0 and "no worker" in err


SHARED = """
import sys
from robustfl.execution import worker_client
sys.exit(worker_client.submit(sys.argv[1:], shared=True))
"""


def test_shared_runs_are_those_of_a_plain_run(place, whole):
    """Threads of one process, as on a GPU, here on the CPU.

    They have the curves of a plain run and their own output, and end when their client dies.
    """

    def shared(name, out, *more):
        words = [
            "train",
            name,
            "--scale",
            "smoke",
            "--out",
            str(place / out),
            "--set",
            f"cache={place}/cache",
            *more,
        ]
        return subprocess.Popen(
            [sys.executable, "-c", SHARED, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    runs = [shared(SHORT, "a"), shared(LONG, "b"), shared(LONG, "gone", "--set", "epochs=30")]
    wait_for_epoch(runs[2])
    assert len(servers(kind="True")) == 1, "three runs, one process"
    runs[2].kill()
    for run, name, out in zip(runs, (SHORT, LONG), ("a", "b")):
        text, err = run.communicate()
        assert run.returncode == 0, err
        assert text.count("record in") == 1 and name in text
        assert contents(place / out) == whole[name]
    assert not (place / "gone/metrics.json").exists()


def test_an_edited_scale_is_seen_by_a_shared_worker(place, monkeypatch, folder):
    """The server that trained three epochs reads the file again, and trains the two it asks for."""
    monkeypatch.setenv("TMPDIR", folder + "/e")
    os.mkdir(folder + "/e")
    shutil.copytree("config", place / "config")
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.chdir(place)

    def train(out):
        words = ["train", SHORT, "--scale", "smoke", "--out", out]
        done = subprocess.run(
            [sys.executable, "-c", SHARED, *words], capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
        return (place / out / "curves.csv").read_text().count("\n") - 1

    assert train("before") == 3
    pids = servers(kind="True")
    path = place / "config/scales.yaml"
    scales = yaml.safe_load(path.read_text())
    scales["smoke"]["epochs"]["speed"] = 2
    path.write_text(yaml.safe_dump(scales))
    assert train("after") == 2
    assert servers(kind="True") == pids, "the same server"
