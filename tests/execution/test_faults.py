"""The short form of `make faults`: each kind of fault once, judged as the long form judges it."""

import random
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faults.kinds import KINDS, possible
from faults.trial import Session, Trial


@pytest.fixture(scope="module")
def trials(request):
    """Name of a kind -> the future of its trial, where this machine can do it; two at once."""
    params = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = {spec.params.get("name") for spec in params if spec}
    with tempfile.TemporaryDirectory(prefix="rfl", dir="/tmp") as folder:
        session = Session(Path(folder))
        with ThreadPoolExecutor(2) as threads:
            kinds = [kind for kind in possible(session.host) if kind.name in wanted]
            yield {kind.name: threads.submit(once, session, kind) for kind in kinds}


def once(session, kind):
    name = f"only-{kind.name.replace(' ', '-')}"
    trial = Trial(session, session.targets[kind.short], name, random.Random(kind.name))
    trial.place.worker = True
    try:
        trial.disturb([kind])
        trial.settle(even_if_done=False)
    finally:
        trial.end()
    return trial


@pytest.mark.parametrize("name", KINDS)
def test_a_fault_loses_nothing_and_changes_nothing(trials, name):
    if name not in trials:
        pytest.skip(f"this machine cannot do it: needs {KINDS[name].needs}")
    trial = trials[name].result()
    assert trial.injected == [name]
    assert not trial.findings, "\n".join(map(str, trial.findings))


EARLY = """
import os, signal, sys
from robustfl import cli
from robustfl.execution import cli as execution
execution._make_bits_repeat = lambda threads: os.kill(os.getpid(), signal.SIGTERM)
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_signal_before_the_first_epoch_shows_no_traceback(tmp_path):
    words = ["train", "cifar10-robust-symmetric0.4-full-seed0", "--scale", "smoke"]
    words += ["--out", str(tmp_path / "run"), "--set", f"cache={tmp_path}"]
    done = subprocess.run([sys.executable, "-c", EARLY, *words], capture_output=True, text=True)
    assert done.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)
    assert done.stderr == ""
    assert not (tmp_path / "run/metrics.json").exists()
