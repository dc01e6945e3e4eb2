"""The workflow in a temporary copy of the tracked files, in a folder with a space in its name."""

import json
import re
import shutil
from pathlib import Path
from zipfile import ZipFile

import pytest
from project_copy import copy_project, run_in

ROOT = Path(__file__).parents[2]
GROUPS = 'groups=["set_cover_cifar10","ratio_cifar10"]'


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("a clone"))


def snakemake(clone, *words, ok=True):
    return run_in(clone, "snakemake", "--cores", "2", *words, ok=ok)


def test_smoke_study_end_to_end(clone):
    """Two groups from nothing to PDF; then nothing to do; then exactly the deleted run again."""
    target = ["report/summary.pdf", "--config", "scale=smoke", GROUPS]
    output = snakemake(clone, *target)
    assert (clone / "report/summary.pdf").read_bytes().startswith(b"%PDF")
    assert output.count(" done: train ") == 17 and "21 of 21 steps (100%) done: summary" in output
    lines = output.splitlines()
    assert sum(" done: " in line for line in lines) == 21, "a line a job"
    rules = len(re.findall(r"^[a-z_]+ +\d+$", output, flags=re.M))  # in snakemake's table
    assert len(lines) - 21 <= 15 + rules, "and what stands before and after"
    logs = "".join(path.read_text() for path in (clone / "logs/smoke").iterdir())
    assert "record in" in logs and "no worker" not in logs
    records = sorted((clone / "results/smoke/runs").glob("*/metrics.json"))
    assert len(records) == 17
    assert "Nothing to be done" in snakemake(clone, *target)
    snakemake_report_has_everything(clone, ["all", *target[1:]])

    others = [*target[:-1], GROUPS.replace('"set_cover_cifar10",', ""), "seeds=[0,1]"]
    plan = snakemake(clone, "-n", "all", *others[1:])
    assert plan.count("rule train:") == 6  # seed 1 of one group; seed 0 is there
    # what gathers the records has other words now; no run is trained again for a parameter
    changed = re.search(r"params have changed since last execution:\n\s*(.*)", plan)
    assert changed is None or set(changed[1].split(", ")) <= {"figures", "page", "pdf", "tables"}

    victim = next(p for p in records if "centrality0.5" in str(p))
    first = json.loads(victim.read_text())
    victim.unlink()
    output = snakemake(
        clone, "all", *target[1:]
    )  # the PDF alone is newer than what is missing; `all` names every record
    assert output.count(" done: train ") == 1
    assert (
        json.loads(victim.read_text())["provenance"]["weights_hash"]
        == first["provenance"]["weights_hash"]
    )

    stale = records[0].parent / "spec.json"
    stale.write_text(stale.read_text().replace('"seed": 0', '"seed": 9'))
    output = snakemake(clone, *target, "--forcerun", "tables", ok=False)
    assert "stale" in output and records[0].parent.name in output


def test_any_words_reach_every_rule_and_absent_records_are_made_again(clone):
    """Quotes, braces, spaces and the like in what a user may name; then the records are lost."""
    odd = """a 'b' "c" $HOME é😀 & ;x *?[y]#"""
    words = ["report/summary.pdf", "--config", "scale=smoke", 'groups=["radius_cifar10"]']
    words += ["epochs=1", "precision=fp32", "torch_compile=false", "device=cpu", "seeds=[0]"]
    words += [f"results=odd/{odd}", f"cache={odd}/c"]
    folder = json.dumps({"source": "folder", "folder": odd + "{x} ${y}"}, ensure_ascii=False)
    words += [f"data={folder}"]
    assert "10 of 10 steps (100%)" in snakemake(clone, *words)
    runs = clone / "odd" / odd / "smoke/runs"
    # runs of the sample in fp32 keep nothing in the cache, so that there is none
    assert len(list(runs.glob("*/metrics.json"))) == 6 and not (clone / odd).exists()
    assert sorted(p.name for p in (clone / "odd").iterdir()) == [odd]

    # the report is there, and newer than all that is left
    shutil.rmtree(clone / "odd")
    assert "10 of 10 steps (100%)" in snakemake(clone, *words)
    next(runs.glob("*/metrics.json")).unlink()
    output = snakemake(clone, *words)
    assert output.count(" done: train ") == 1 and "5 of 5 steps (100%)" in output
    assert "Nothing to be done" in snakemake(clone, *words)

    output = snakemake(clone, "data", *words[1:], ok=False)
    assert f"robustfl: cifar10: folder: {odd}{{x}} ${{y}}" in output


def snakemake_report_has_everything(clone, target):
    """Every table, figure and report stands in snakemake's own report, with captions."""
    snakemake(clone, *target)
    snakemake(clone, *target, "--report", "study.zip")
    smoke = clone / "results/smoke"
    made = [*smoke.glob("tables/*.csv"), *smoke.glob("figures/*.svg"), *smoke.glob("report.*")]
    with ZipFile(clone / "study.zip") as archive:
        held = {Path(name).name for name in archive.namelist()}
        index = archive.read("study/report.html").decode()
    assert {path.name for path in made} <= held and {"report.pdf", "report.html"} <= held
    for words in ("An Empirical Study of Robust Deep Models", "means over seeds", "its selections"):
        assert words in index, words


def test_single_target_by_name(clone):
    name = "fashion_mnist-speed-random0.2-seed0"
    target = f"results/laptop/runs/{name}/metrics.json"
    output = snakemake(clone, "-n", target)
    assert "rule train:" in output and f"name={name}" in output


@pytest.fixture
def published(clone):
    """The clone with the packed records of the laptop scale, and no folder of a run."""
    shutil.copytree(ROOT / "results/laptop/records", clone / "results/laptop/records")
    yield clone
    shutil.rmtree(clone / "results/laptop")


def test_packed_records_are_not_trained_again(published):
    groups = 'groups=["radius_cifar10","ratio_cifar10"]'
    plan = snakemake(published, "-n", "all", "--config", "scale=laptop", groups)
    assert "60 runs, 60 of them packed" in plan
    assert "rule train:" not in plan and "rule tables:" in plan and "rule figures:" in plan
    plan = snakemake(published, "-n", "all", "--config", "scale=laptop", "epochs=2", groups)
    assert plan.count("rule train:") == 60 and "of them packed" not in plan


def test_a_packed_run_is_restored_when_asked_for_by_name(published):
    name = "cifar10-robust-symmetric0.4-forgetting0.4-forgetting-warmup0-seed0"
    target = f"results/laptop/runs/{name}/metrics.json"
    output = snakemake(published, target)
    assert output.count(" done: train ") == 1  # the pretraining run is packed too, and stays so
    assert "restored from" in (published / f"logs/laptop/{name}.log").read_text()
    assert "Nothing to be done" in snakemake(published, target)


def test_a_broken_packed_record_stops_the_plan_by_name(published):
    path = next((published / "results/laptop/records").iterdir())
    path.write_text("<<<<<<<")
    assert path.name in snakemake(published, "-n", "--config", "scale=laptop", ok=False)


def test_lists_and_null_on_the_command_line(clone):
    words = [
        "-n",
        "all",
        "--config",
        "scale=smoke",
        GROUPS,
        "seeds=[0, 3]",
        "precision=null",
        "data={folder: null}",
    ]
    output = snakemake(clone, *words)
    assert "seeds [0, 3], 34 runs" in output


def test_unknown_name_is_a_clear_error(clone):
    output = snakemake(clone, "results/full/runs/cifar10-robust-typo-seed0/metrics.json", ok=False)
    assert (
        "run must be one of `robustfl runs --scale full`; got 'cifar10-robust-typo-seed0'" in output
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("scael=smoke", "scael"),
        ("scale=huge", "huge"),
        ('seeds=["a"]', "seeds"),
        ("epochs=0", "epochs"),
        ("results=${HOME}/r", "results must be a path without braces"),
        ("cache={x}/c", "cache must be a path without braces"),
        ("data={source: folder}", "data must be a mapping of source"),
        ("seeds=[2025-13-45]", "seeds must be null or a non-empty list"),
    ],
)
def test_config_typos_are_refused_before_anything_runs(clone, setting, message):
    assert message in snakemake(clone, "-n", "--config", setting, ok=False)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("radius: 1.0 }", "raduis: 1.0 }", "raduis"),
        (
            "full, mixing:\n        set:\n          { method: full",
            "full, mixing:\n        set:\n          { method: ful",
            "group released_cifar10, row 'full, mixing': method must be one of",
        ),
    ],
)
def test_unknown_keys_and_names_in_experiments_are_refused(clone, right, wrong, message):
    path = clone / "config/experiments.yaml"
    text = path.read_text()
    try:
        path.write_text(text.replace(right, wrong))
        output = snakemake(clone, "-n", "--config", "scale=smoke", ok=False)
    finally:
        path.write_text(text)
    assert message in output


def test_lint_is_clean(clone):
    assert "your workflow is in a good condition" in snakemake(clone, "--lint")
