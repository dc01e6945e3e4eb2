"""`robustfl evidence`: the runs of evidence.yaml in order, gone on with after a stop."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from robustfl.execution import campaign
from robustfl.study import experiments, packed

CONFIG = experiments.read_yaml(Path("config/config.yaml"))


@pytest.fixture
def folder(tmp_path):
    """A folder with the project's config and an evidence.yaml of three smoke runs."""
    shutil.copytree("config", tmp_path / "config")
    runs = [{"scale": "smoke", "group": "ladder", "rows": ["random", "full"], "seeds": [0]}]
    more = [
        {
            "scale": "smoke",
            "group": "ladder",
            "rows": ["full", "FL weighted"],
            "rules": ["full", "centrality"],
            "seeds": [0],
        }
    ]
    stages = [{"why": "first", "runs": runs}, {"why": "then", "runs": more}]
    (tmp_path / "config/evidence.yaml").write_text(yaml.safe_dump(stages))
    return tmp_path


def start(folder, *words):
    command = [sys.executable, "-m", "robustfl", "evidence", *words]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def test_the_project_s_evidence_is_of_runs_that_the_study_has():
    jobs = campaign.jobs(CONFIG)
    assert [job.scale for job in jobs[:28:7]] == ["rung_1600", "rung_5000", "rung_15000", "desk"]
    assert len({(job.scale, job.name) for job in jobs}) == len(jobs) > 500
    headline = [job for job in jobs if job.scale == "full"][:3]
    assert [job.spec.method for job in headline] == ["full", "centrality", "random"]
    assert all(
        job.spec.model == "resnet32" and job.spec.epochs == 120 and not job.spec.train_size
        for job in headline
    )


def test_runs_are_trained_in_order_and_packed(folder):
    process = start(folder, "--at-once", "1")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    done = [line.split()[1].rstrip(":") for line in output.splitlines() if "done in" in line]
    names = [
        "cifar10-robust-symmetric0.4-full-seed0",
        "cifar10-robust-symmetric0.4-random0.4-seed0",
        "cifar10-robust-symmetric0.4-centrality0.4-ball2-seed0",
    ]
    assert done == names, "in the order of the group's rows, the run of two stages once"
    for name in names:
        held = packed.read_file(folder / "results/smoke/records" / f"{name}.json")
        assert held.spec == experiments.load("smoke", {"groups": ["ladder"]}).spec(name)
    assert not list((folder / "results/smoke/runs").iterdir())
    listed = start(folder, "--list").communicate(timeout=60)[0]
    assert listed.splitlines()[-1].startswith("left: 0 runs")


def test_a_stopped_call_goes_on(folder):
    """SIGTERM in the middle of a run loses nothing: the next call ends with the same weights."""
    whole = start(
        folder, "--at-once", "2", "--set", "epochs=20", "--set", f"results={folder}/whole"
    )
    process = start(folder, "--at-once", "2", "--set", "epochs=20")
    saved = folder / "results/smoke/runs"
    deadline = time.monotonic() + 100
    while not list(saved.glob("*/checkpoint.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert "stopped" in process.stdout.read()

    again = start(folder, "--at-once", "2", "--set", "epochs=20")
    output = again.communicate(timeout=200)[0]
    assert again.returncode == 0, output
    assert whole.wait(timeout=200) == 0
    logs = "".join(path.read_text() for path in (folder / "logs/evidence/smoke").glob("*.log"))
    assert "going on after epoch" in logs
    for path in (folder / "results/smoke/records").glob("*.json"):
        twin = packed.read_file(folder / "whole/smoke/records" / path.name)
        held = packed.read_file(path)
        assert (
            held.metrics["provenance"]["weights_hash"] == twin.metrics["provenance"]["weights_hash"]
        )


def test_a_failed_run_is_told_and_the_others_go_on(folder):
    bad = folder / "results/smoke/runs/cifar10-robust-symmetric0.4-full-seed0"
    bad.parent.mkdir(parents=True)
    bad.write_text("a file where the run's folder should be")
    process = start(folder, "--at-once", "1")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1 and "full-seed0: FAILED" in output
    assert output.count("done in") == 2


def test_two_calls_do_not_share_results(folder):
    first = start(folder, "--at-once", "1")
    lock = folder / "results/.evidence.lock"
    while not lock.exists():
        time.sleep(0.02)
    time.sleep(0.2)
    second = subprocess.run(
        [sys.executable, "-m", "robustfl", "evidence"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        timeout=60,
    )
    first.terminate()
    first.wait(timeout=60)
    assert second.returncode == 2 and "one `robustfl evidence` at a time" in second.stderr


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (
            {"scale": "smoke", "group": "ladder", "rows": ["fool"], "seeds": [0]},
            "rows must be among.*fool",
        ),
        (
            {"scale": "smoke", "group": "ladder", "rules": ["exact"], "seeds": [0]},
            "rules must be among.*exact",
        ),
        ({"scale": "smoke", "group": "lader", "seeds": [0]}, "groups must be among.*lader"),
        ({"scale": "smoke", "group": "ladder", "seed": [0]}, "evidence.yaml: .*seed"),
    ],
)
def test_a_stage_that_is_not_there_is_named(folder, stage, message):
    (folder / "config/evidence.yaml").write_text(yaml.safe_dump([{"why": "x", "runs": [stage]}]))
    with pytest.raises(experiments.StudyError, match=message):
        campaign.jobs(CONFIG, folder / "config")


def test_work_is_counted_in_passes():
    known = experiments.load("desk", {"groups": ["ladder"]})
    full, random = (
        known.spec(f"cifar10-robust-symmetric0.4-{name}-seed0") for name in ("full", "random0.4")
    )
    assert campaign.images(full) == 3 * 120 * 49000 + 13 * 49000 + 120 * 10000
    assert campaign.images(random) == pytest.approx(
        3 * (5 + 115 * 0.4) * 49000 + 13 * 49000 + 120 * 10000
    )
    assert campaign.work(full) / campaign.images(full) == pytest.approx(
        34.6e6, rel=0.05
    )  # a quarter of ResNet-32's 138e6


def test_the_rate_is_that_of_this_processor_s_records(folder, monkeypatch):
    config = CONFIG | {"results": str(folder / "results")}
    assert campaign.rate(config) == campaign.RATE
    shutil.copytree("results/laptop/records", folder / "results/laptop/records")
    name = packed.read_file(next((folder / "results/laptop/records").glob("*seed0.json"))).metrics[
        "provenance"
    ]["device_name"]
    monkeypatch.setattr("robustfl.execution.provenance.device_name", lambda device=None: name)
    assert 1e9 < campaign.rate(config) < 1e12
