"""The warm worker: what a run gets from it is what a plain process gets, and who ends with whom."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from robustfl.execution import worker_client

SHORT, LONG = "cifar10-speed-random0.2-seed0", "cifar10-robust-symmetric0.4-full-seed0"
EPOCHS = {SHORT: 3, LONG: 12}  # long enough to be disturbed
PROBE = Path(__file__).with_name("worker_probe.py")

# a workflow in small: it offers a worker, says where, and ends when its stdin does
CALL = """
import os, sys
from robustfl.execution import worker_client
worker_client.offer()
print(os.environ.get("ROBUSTFL_WORKER"), flush=True)
sys.stdin.read()
"""


class Call:
    """A process that offers a worker, and the processes that find it."""

    def __init__(self, **environment):
        self.environment = os.environ | environment
        del self.environment["PYTEST_CURRENT_TEST"]  # pytest's own, another in every test
        self.process = subprocess.Popen(
            [sys.executable, "-c", CALL],
            env=self.environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.started = [self.process]
        self.folder = self.process.stdout.readline().strip()
        self.environment["ROBUSTFL_WORKER"] = self.folder

    def start(self, *command, **changed):
        options = {"env": self.environment | changed.pop("environment", {})} | changed
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.started.append(subprocess.Popen(command, **(pipes | options)))
        return self.started[-1]

    def train(self, name, out, *words, program=("-m", "robustfl"), **changed):
        given = ["--scale", "smoke", "--set", f"epochs={EPOCHS[name]}", "--out", str(out)]
        given += ["--set", f"cache={Path(out).parent}/cache", *words]
        return self.start(sys.executable, *program, "train", name, *given, **changed)

    def probe(self, *before, status=0, **changed):
        """(what the probe saw, stderr) of a probe that is started by the words `before`."""
        run = self.start(*before, sys.executable, str(PROBE), str(status), **changed)
        out, err = run.communicate(timeout=60)
        assert run.returncode == status, err
        return json.loads(out), err

    def server(self, kind="False"):
        """Pid of the server, None where none runs. kind: "True" for one whose runs are threads."""
        command = ["pgrep", "-f", f"worker_server.serve.* {kind}$"]
        for pid in map(int, subprocess.run(command, capture_output=True, text=True).stdout.split()):
            try:
                environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                alone = os.getsid(pid) == pid  # its children are of its session
            except (OSError, ProcessLookupError):
                continue
            if alone and f"ROBUSTFL_WORKER={self.folder}".encode() in environment:
                return pid
        return None

    def end(self, number=None):
        """End the call, and wait for its server and its folder to be gone."""
        if number is None:
            self.process.stdin.close()
        else:
            self.process.send_signal(number)
        self.process.wait()
        wait_until(lambda: self.server() is None and self.server("True") is None)
        wait_until(lambda: not Path(self.folder).exists())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.end()
        for process in self.started:
            with process:  # closes its streams, and waits for it
                pass


def wait_until(holds):
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def module_call():
    """A call whose worker runs already, as this process is."""
    # `train` sets these two for itself
    with Call(CUBLAS_WORKSPACE_CONFIG=":4096:8", CUDA_DEVICE_MAX_CONNECTIONS="32") as call:
        ask = "from robustfl.execution import worker_client as w; assert w.submit(['runs']) == 0"
        assert call.start(sys.executable, "-c", ask).wait() == 0
        yield call


@pytest.fixture
def call():
    with Call() as call:
        yield call


@pytest.fixture(scope="module")
def probed():
    """A call whose worker runs the probe."""
    path = f"{os.getcwd()}{os.pathsep}{PROBE.parent}"
    with Call(PYTHONPATH=path, OMP_NUM_THREADS="1") as call:
        _, err = call.probe()
        assert "plain" not in err
        yield call


@pytest.fixture(scope="module")
def whole(tmp_path_factory, module_call):
    """curves.csv and weights of undisturbed, plain runs."""
    place = tmp_path_factory.mktemp("whole")
    runs = [module_call.train(name, place / name, "--no-worker") for name in (SHORT, LONG)]
    assert [run.wait() for run in runs] == [0, 0]
    return {name: contents(place / name) for name in (SHORT, LONG)}


def contents(run):
    metrics = json.loads((run / "metrics.json").read_text())
    return (run / "curves.csv").read_bytes(), metrics["provenance"]["weights_hash"]


def wait_for_epoch(run):
    for line in run.stdout:
        if "epoch 1/" in line:
            return
    raise AssertionError(run.stderr.read())


# what a run gets


def test_a_run_in_the_worker_is_like_a_plain_process(probed):
    """Its context, and its streams, which are the caller's."""
    log = subprocess.PIPE
    seen, err = probed.probe(stdin=log)
    plain, said = probed.probe(stdin=log, environment={"ROBUSTFL_WORKER": "off"})
    assert err == "" and said == "plain\n", "switched off without a word"
    # a run has no worker of its own; torch, once imported, adds a name
    for values in (seen[0], plain[0]):
        for name in ("ROBUSTFL_WORKER", "TORCHINDUCTOR_CACHE_DIR"):
            values.pop(f"${name}", None)
    assert seen[0] == plain[0]
    assert all(place.startswith("pipe:") for place in seen[1].values())
    assert seen[1]["1"] != plain[1]["1"]


def test_the_exit_status_comes_back(probed):
    probed.probe(status=7)


@pytest.mark.parametrize(
    ("before", "differs"),
    [
        ("nice -n 5", "nice"),
        ("taskset -c {core}", "cpus_allowed_list"),
        ("prlimit --nofile=256:256", "limits"),
        ("choom -n 500 --", "oom_score_adj"),
        ("chrt --batch 0", "scheduling"),
        ("setpriv --no-new-privs", "nonewprivs"),
        ("bash -c 'umask 077; exec \"$@\"' -", "umask"),
        ("env -C tests", "folder"),
        ("env ATEN_CPU_CAPABILITY=default", "$ATEN_CPU_CAPABILITY"),
        ("env -u OMP_NUM_THREADS MALLOC_ARENA_MAX=1", "$MALLOC_ARENA_MAX, $OMP_NUM_THREADS"),
        ("env LD_BIND_NOW=1 ANY=1", "$ANY, $LD_BIND_NOW"),
    ],
)
def test_a_caller_that_differs_runs_plainly_and_says_in_what(probed, before, differs):
    words = shlex.split(before.format(core=min(os.sched_getaffinity(0))))
    if shutil.which(words[0]) is None:
        pytest.skip(f"no {words[0]} here")
    if words[0] == "taskset" and len(os.sched_getaffinity(0)) == 1:
        pytest.skip("one core has no fewer")
    _, err = probed.probe(*words)
    assert err == f"no worker (another {differs}); running plainly\nplain\n"


def test_a_mode_is_that_of_a_plain_run(module_call, tmp_path):
    run = module_call.train(SHORT, tmp_path / "mine", "--set", "epochs=1", umask=0o077)
    assert run.wait() == 0 and "another umask" in run.stderr.read()
    assert (tmp_path / "mine/metrics.json").stat().st_mode & 0o777 == 0o600


def test_curves_under_other_instructions_are_those_of_a_plain_run(module_call, tmp_path, whole):
    """Libraries choose theirs when they are imported, which the server has done already."""
    older = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    runs = [
        module_call.train(SHORT, tmp_path / out, *words, environment=older)
        for out, words in (("offered", ()), ("plain", ("--no-worker",)))
    ]
    assert [run.wait() for run in runs] == [0, 0]
    assert contents(tmp_path / "offered") == contents(tmp_path / "plain")


def test_bytes_are_those_of_a_plain_run_alone_or_beside_others(module_call, tmp_path, whole):
    runs = [module_call.train(SHORT, tmp_path / f"worker{i}") for i in range(3)]
    for run in runs:
        out, err = run.communicate()
        assert run.returncode == 0 and err == ""
        assert "record in" in out
    assert module_call.server()
    assert {contents(tmp_path / f"worker{i}") for i in range(3)} == {whole[SHORT]}


def test_an_error_comes_back(module_call, tmp_path):
    broken = module_call.train(SHORT, tmp_path / "x", "--set", "device=cuda")
    out, err = broken.communicate()
    assert broken.returncode == 2 and "device must be present; got cuda" in err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_matter(probed, closed):
    """Daemons and cron start programs with them."""
    run = probed.start("bash", "-c", f'"$@" {closed}', "-", sys.executable, str(PROBE), "5")
    out, err = run.communicate(timeout=60)
    assert run.returncode == 5 and err == ""
    if ">&-" not in closed.replace("2>&-", ""):
        assert set(json.loads(out)[1].values()) & {"/dev/null"}


# who ends with whom


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_caller_that_is_ended_ends_its_run_which_goes_on_later(
    module_call, tmp_path, whole, number
):
    run = module_call.train(LONG, tmp_path / "cut")
    wait_for_epoch(run)
    run.send_signal(number)
    run.wait()
    assert run.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    wait_until((tmp_path / "cut/checkpoint.ckpt").exists)
    assert not (tmp_path / "cut/metrics.json").exists()

    again = module_call.train(LONG, tmp_path / "cut")
    out, err = again.communicate()
    assert again.returncode == 0 and "going on after epoch" in out, err
    assert contents(tmp_path / "cut") == whole[LONG]


def test_a_run_outlives_its_server_and_later_ones_are_plain(call, tmp_path, whole):
    run = call.train(LONG, tmp_path / "run")
    wait_for_epoch(run)
    os.kill(call.server(), signal.SIGKILL)
    out, err = run.communicate()
    assert run.returncode == 0 and err == ""
    assert contents(tmp_path / "run") == whole[LONG]

    later = call.train(SHORT, tmp_path / "later")
    out, err = later.communicate()
    assert later.returncode == 0 and "Connection refused); running plainly" in err
    assert contents(tmp_path / "later") == whole[SHORT]


def test_a_run_outlives_its_call_as_a_plain_one_would(call, tmp_path, whole):
    run = call.train(LONG, tmp_path / "run")
    wait_for_epoch(run)
    call.end(signal.SIGKILL)
    _, err = run.communicate()
    assert run.returncode == 0 and contents(tmp_path / "run") == whole[LONG], err


@pytest.mark.parametrize("number", [None, signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_with_its_call(number):
    with Call(PYTHONPATH=f"{os.getcwd()}{os.pathsep}{PROBE.parent}") as call:
        call.probe()
        assert call.server()
        call.end(number)


def test_a_server_that_cannot_start_means_plain_runs(call):
    """Its last line is in theirs: here its torch is a module that raises."""
    place = Path(call.folder) / "broken"
    place.mkdir()
    (place / "torch.py").write_text("raise ImportError('no torch today')")
    path = f"{place}{os.pathsep}{os.getcwd()}{os.pathsep}{PROBE.parent}"
    _, err = call.probe(environment={"PYTHONPATH": path})
    assert err.startswith("no worker (") and "no torch today" in err and err.endswith("plain\n")


# where there is none


def test_no_place_for_a_socket_means_plain_runs(tmp_path):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with Call(TMPDIR=str(deep)) as call:
        assert call.folder == "None" and not list(deep.iterdir())
    assert call.process.returncode == 0


def test_an_offer_that_is_there_or_switched_off_is_left_as_it_is():
    with Call(ROBUSTFL_WORKER="off") as call:
        assert call.folder == "off"
    assert call.process.returncode == 0


def test_a_folder_of_others_is_not_used(monkeypatch, tmp_path, capsys):
    """Nor one that is absent, which is not made, nor a link."""
    others = tmp_path / "others"
    others.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(others)
    cases = [(tmp_path / "absent", "No such file"), (tmp_path / "link", "of this user alone")]
    os.chmod(tmp_path, 0o777)
    for folder, message in [*cases, (tmp_path, "of this user alone")]:
        monkeypatch.setenv("ROBUSTFL_WORKER", str(folder))
        assert worker_client.submit(["runs"]) is None
        assert message in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "others"]
    assert not list(others.iterdir())


# runs that are threads, as on a GPU, here on the CPU

ASK = """
import sys
from robustfl.execution import worker_client
sys.exit(worker_client.submit(sys.argv[1:], shared=True))
"""
SHARED = ("-c", ASK)


def test_shared_runs_are_those_of_a_plain_run(call, tmp_path, whole):
    """They have the curves of a plain run and their own output, and end when their caller dies."""
    runs = [
        call.train(SHORT, tmp_path / "a", program=SHARED),
        call.train(LONG, tmp_path / "b", program=SHARED),
        call.train(LONG, tmp_path / "gone", "--set", "epochs=40", program=SHARED),
    ]
    wait_for_epoch(runs[2])
    assert call.server("True")
    runs[2].kill()
    for run, name, out in zip(runs, (SHORT, LONG), ("a", "b")):
        text, err = run.communicate()
        assert run.returncode == 0, err
        assert text.count("record in") == 1 and name in text
        assert contents(tmp_path / out) == whole[name]
    assert not (tmp_path / "gone/metrics.json").exists()


def test_an_edited_scale_is_seen_by_a_shared_worker(call, tmp_path):
    """The server that trained three epochs reads the file again, and trains the two it asks for."""
    shutil.copytree("config", tmp_path / "config")
    call.environment["PYTHONPATH"] = os.getcwd()

    def train(out):
        words = ["train", SHORT, "--scale", "smoke", "--out", out]
        done = call.start(sys.executable, *SHARED, *words, cwd=tmp_path)
        _, err = done.communicate(timeout=100)
        assert done.returncode == 0, err
        return (tmp_path / out / "curves.csv").read_text().count("\n") - 1

    assert train("before") == 3
    pid = call.server("True")
    path = tmp_path / "config/scales.yaml"
    scales = yaml.safe_load(path.read_text())
    scales["smoke"]["epochs"]["speed"] = 2
    path.write_text(yaml.safe_dump(scales))
    assert train("after") == 2
    assert call.server("True") == pid, "the same server"
