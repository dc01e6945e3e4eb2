import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from robustfl.cli import main
from robustfl.data import DATASETS
from robustfl.execution import checkpoint, run
from robustfl.execution import cli as execution_cli
from robustfl.study import experiments
from robustfl.study.run_spec import RunSpec


def test_runs_prints_names(capsys):
    assert main(["runs", "--scale", "full", "--group", "radius_cifar10"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert len(names) == 6 and names[0] == "cifar10-robust-symmetric0.4-full-ball1-seed0"


def test_show_prints_spec_and_slide(capsys):
    assert main(["show", "cifar10-robust-symmetric0.4-full-ball2-seed0", "--scale", "full"]) == 0
    printed = capsys.readouterr().out
    assert "  lr: 0.1  # learning rate of the first epoch\n" in printed
    shown = yaml.safe_load(printed)
    assert RunSpec.from_dict(shown["spec"]).hash == shown["hash"]
    assert {g["slide"] for g in shown["belongs to"]} == {
        "FL for Robust Training (noise ratio 0.4)",
        "Ablation study on ball radius",
        "beyond the slides: does an effect grow, fade or turn with the data?",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "typo"], "run must be one of"),
        (["runs", "--group", "typo"], "--group must be one of"),
        (["runs", "--set", "seed=3"], "--set must be KEY=VALUE with a key of config.yaml"),
        (["runs", "--set", "seeds=[]"], "seeds must be null or a non-empty list"),
        (
            ["runs", "--set", "seeds=3"],
            "seeds must be null or a non-empty list of different integers >= 0; got 3",
        ),
        (
            ["runs", "--set", "groups=abc"],
            "groups must be null or a non-empty list of different group names; got 'abc'",
        ),
        (["runs", "--set", "epochs=0"], "epochs must be null or an integer >= 1; got 0"),
        (["runs", "--set", "torch_compile=["], "--set torch_compile must be a YAML value; got '['"),
        (["runs", "--set", "data={source: folder}"], "data must be a mapping of source"),
        (
            ["runs", "--set", "cache=3"],
            "cache must be a path without braces, backslashes and control characters; got 3",
        ),
        (
            ["train", "../x", "--spec", "config/scales.yaml"],
            "--spec must be a readable JSON file; 'config/scales.yaml'",
        ),
        (
            ["train", "cifar10-speed-random0.2-seed0", "--scale", "smoke", "--threads", "0"],
            "--threads must be from 1 to",
        ),
        (
            [
                "train",
                "cifar10-speed-random0.2-seed0",
                "--scale",
                "smoke",
                "--threads",
                "999999999999",
            ],
            "got 999999999999",
        ),
        (
            ["data", "check", "cifar10", "mnist"],
            f"dataset must be one of {', '.join(DATASETS)}; got 'mnist'",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "mnist"}, f"dataset must be one of {', '.join(DATASETS)}; got 'mnist'"),
        ({"model": "vgg"}, "model must be one of"),
        ({"method": "best"}, "method must be one of"),
        ({"milestones": ["a", 1]}, "milestones must be integers >= 1"),
        ({"gamma": -1.0}, "gamma must be > 0; got -1.0"),
        (
            {"noise": "asymmetric", "noise_rate": 0.2, "noise_map": [["cat", "dog"]]},
            "noise_map must be pairs of class numbers",
        ),
    ],
)
def test_bad_specs_leave_nothing(tmp_path, capsys, changes, message):
    (tmp_path / "spec.json").write_text(json.dumps(RunSpec(use_sample=True).asdict() | changes))
    words = [
        "train",
        "mine",
        "--spec",
        str(tmp_path / "spec.json"),
        "--out",
        str(tmp_path / "run"),
        "--no-worker",
    ]
    assert main(words) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_cache_that_cannot_be_written_is_refused_before_training(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    words = [
        "train",
        "cifar10-speed-random0.2-seed0",
        "--scale",
        "smoke",
        "--no-worker",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main([*words, "--set", f"cache={tmp_path}/file"]) == 2
    captured = capsys.readouterr()
    assert (
        "cache must be a folder that exists or can be made" in captured.err
        and "epoch 1" not in captured.out
    )


def test_tensorboard_without_its_package_says_what_to_install(tmp_path):
    code = """
import sys
sys.modules["tensorboard"] = None  # as if it were not installed
from robustfl.cli import main
sys.exit(main(["tensorboard", "--scale", "laptop", "--out", sys.argv[1]]))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "events")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "pip install 'robustfl[tensorboard]'" in done.stderr
    assert not (tmp_path / "events").exists()


def test_a_package_that_cannot_be_loaded_is_one_line(tmp_path):
    """As torch under a limit of memory, whose library then cannot be mapped."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text(
        "raise ImportError('libtorch_cpu.so: failed to map segment from shared object')\n"
    )
    name = "cifar10-robust-symmetric0.4-full-seed0"
    words = ["train", name, "--scale", "smoke", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "robustfl", *words],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"},
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert done.returncode == 1 and not (tmp_path / "run").exists()
    assert done.stderr == (
        "robustfl: a package could not be loaded: libtorch_cpu.so: failed to map segment from "
        "shared object\n"
    )


def test_no_other_command_waits_for_an_optional_package():
    code = "import sys, robustfl.cli; sys.exit('tensorboard' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_train_writes_a_record(tmp_path):
    name = "fashion_mnist-speed-random0.2-seed0"
    words = [
        "train",
        name,
        "--scale",
        "smoke",
        "--out",
        tmp_path / "run",
        "--set",
        f"cache={tmp_path}/cache",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "robustfl", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 3/3" in done.stdout and "record in" in done.stdout
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["name"] == name and metrics["provenance"]["deterministic"] is True


def test_train_from_a_spec_file(tmp_path):
    spec = RunSpec(
        use_sample=True, train_size=60, test_size=20, model="resnet8", epochs=1, batch_size=32
    )
    (tmp_path / "spec.json").write_text(json.dumps(spec.asdict()))
    assert (
        main(
            ["train", "mine", "--spec", str(tmp_path / "spec.json"), "--out", str(tmp_path / "run")]
        )
        == 0
    )
    assert json.loads((tmp_path / "run/metrics.json").read_text())["spec_hash"] == spec.hash


SMALL = RunSpec(
    use_sample=True, train_size=60, test_size=20, model="resnet8", epochs=1, batch_size=32
)


@pytest.mark.parametrize("form", ["file", "text"])
@pytest.mark.parametrize("worker", [[], ["--no-worker"]])
def test_a_spec_trains_without_a_config_folder(tmp_path, monkeypatch, capfd, form, worker):
    monkeypatch.chdir(tmp_path)
    text = json.dumps(SMALL.asdict())
    (tmp_path / "spec.json").write_text(text)
    words = ["train", "mine", "--spec", "spec.json" if form == "file" else text, *worker]
    assert main([*words, "--scale", "tiny", "--set", "results=here"]) == 0, capfd.readouterr().err
    record = tmp_path / "here/tiny/runs/mine"
    assert json.loads((record / "spec.json").read_text()) == SMALL.asdict()
    assert (tmp_path / "cache").is_dir()
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("scale", [[], ["--scale", "auto"], ["--scale", "../up"]])
def test_the_folder_of_a_spec_is_never_guessed(tmp_path, monkeypatch, capsys, scale):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "mine", "--spec", json.dumps(SMALL.asdict()), *scale]) == 2
    assert "--spec must come with --out, or with a --scale that names" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_a_spec_has_decided_is_not_set_beside_it(capsys):
    words = ["train", "mine", "--spec", json.dumps(SMALL.asdict()), "--out", "nowhere"]
    assert main([*words, "--set", "epochs=3"]) == 2
    assert "(device, results, cache, data); got 'epochs=3'" in capsys.readouterr().err


def test_a_spec_without_yaml_gets_the_config_s_own_machine():
    config = experiments.read_yaml(Path("config/config.yaml"))
    assert execution_cli.MACHINE == {key: config[key] for key in execution_cli.MACHINE}


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], {"graphs": True, "checkpoint_every": 10, "checkpoint_seconds": 60.0}),
        (["--eager", "--checkpoint-every", "3"], {"graphs": False, "checkpoint_every": 3}),
        (["--set", "data={source: folder, folder: d}"], {"source": "folder", "folder": "d"}),
    ],
)
def test_options_of_a_run_are_those_of_the_command(tmp_path, monkeypatch, words, options):
    given = []

    def fake(spec, out, name, options, watch):
        given.append(options)
        return {"best_top1": 0.0, "last_top1": 0.0}

    monkeypatch.setattr(run, "run_to_record", fake)
    command = ["train", "mine", "--spec", json.dumps(SMALL.asdict()), "--no-worker"]
    assert main([*command, "--out", str(tmp_path), *words]) == 0
    assert {key: getattr(given[0], key) for key in options} == options


def test_a_run_ends_after_the_epoch_in_which_it_should_stop(tmp_path):
    spec = dataclasses.replace(SMALL, epochs=4)
    words = ["train", "mine", "--spec", json.dumps(spec.asdict()), "--no-worker"]
    words += ["--out", str(tmp_path / "run"), "--set", f"cache={tmp_path}/cache"]
    answers = iter([False, True])
    assert main(words, should_stop=lambda: next(answers)) == 128 + signal.SIGTERM
    assert not (tmp_path / "run/metrics.json").exists()
    state = checkpoint.load(tmp_path / "run/checkpoint.ckpt", spec.hash)
    assert state["progress"]["epoch"] == 2
    assert main(words) == 0
    assert (tmp_path / "run/metrics.json").exists()


def command(*words, **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "robustfl", *words], **(pipes | options))


def test_threads_go_by_the_cores_that_the_process_may_use():
    """Which `taskset` and schedulers restrict, not by those of the machine."""

    def one_core():
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])

    words = ["train", "cifar10-speed-random0.2-seed0", "--scale", "smoke", "--threads", "2"]
    run = command(*words, preexec_fn=one_core)
    _, err = run.communicate()
    assert run.returncode == 2
    assert "--threads must be from 1 to the 1 cores that this process may use; got 2" in err


def test_output_that_nobody_reads_ends_quietly():
    with command("runs", "--scale", "full") as run:
        run.stdout.close()
        assert run.stderr.read() == ""
    assert run.returncode == 0


def test_a_full_disk_under_the_output_is_told():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        run = command("runs", "--scale", "smoke", stdout=full)
        _, err = run.communicate()
    assert run.returncode == 1
    assert err == "robustfl: [Errno 28] No space left on device\n"


def test_a_run_whose_lines_nobody_reads_is_interrupted_and_goes_on_later(tmp_path):
    """As by `robustfl train ... | head -1`."""
    spec = json.dumps(dataclasses.replace(SMALL, epochs=20).asdict())
    words = ["train", "mine", "--spec", spec, "--set", f"cache={tmp_path}/cache"]
    words += ["--out", str(tmp_path / "run"), "--checkpoint-every", "1000"]
    with command(*words) as run:
        assert "epoch 1/20" in run.stdout.readline()
        run.stdout.close()
        assert run.stderr.read() == ""
    assert run.returncode == 128 + signal.SIGPIPE
    assert (tmp_path / "run/checkpoint.ckpt").exists()
    assert not (tmp_path / "run/metrics.json").exists()

    again = command(*words)
    out, err = again.communicate()
    assert again.returncode == 0 and out.startswith("going on after epoch"), err


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_run_does_without_standard_streams(tmp_path, closed):
    """Daemons and cron start programs with some of them closed."""
    words = [
        sys.executable,
        "-m",
        "robustfl",
        "train",
        "mine",
        "--spec",
        json.dumps(SMALL.asdict()),
    ]
    words += ["--out", str(tmp_path / "run"), "--set", f"cache={tmp_path}/cache"]
    done = subprocess.run(["bash", "-c", f'"$@" {closed}', "-", *words], capture_output=True)
    assert done.returncode == 0 and done.stderr == b""
    assert (tmp_path / "run/metrics.json").exists()


def test_help_names_every_command():
    shown = subprocess.run(
        [sys.executable, "-m", "robustfl", "--help"], capture_output=True, text=True
    ).stdout
    for command in ("train", "runs", "show", "data", "select", "records", "report", "examples:"):
        assert command in shown


def test_every_spec_of_the_study_is_handed_on_whole():
    config = experiments.read_yaml(Path("config/config.yaml"))
    for spec in experiments.load("full", {"seeds": [0, 3]}).specs.values():
        words = execution_cli.spec_words(spec, config)
        assert RunSpec.from_dict(json.loads(words[1])) == spec
