"""Event files hold the numbers of the records: read back by TensorBoard's own reader."""

import dataclasses
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from synthetic import curves, metrics

from robustfl.cli import main
from robustfl.study import packed, record
from robustfl.study.run_spec import RunSpec

pytest.importorskip("tensorboard", reason="the optional package tensorboard is absent")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from robustfl.evidence import event_files

RECORDS = [  # every third epoch tested; older columns alone; no label noise
    "rung_1600/records/cifar10-robust-symmetric0.4-centrality0.4-ball2-seed0.json",
    "laptop/records/cifar10-robust-symmetric0.4-full-seed3.json",
    "laptop/records/fashion_mnist-speed-random0.2-seed1.json",
]
FULL = "cifar10-robust-symmetric0.4-full-seed0"
GROUP = ["--scale", "laptop", "--group", "noise_0.4_cifar10"]
ROWS = {  # of the group, as listed -> the end of their runs' names; one row has no record here
    "FL only (exact)": "facility_location0.4",
    "FL only (released)": "centrality0.4",
    "FL weighted (exact)": "facility_location0.4-ball2",
    "FL weighted (released)": "centrality0.4-ball2",
    "full": "full",
    "random": "random0.4",
    "weighted only": "full-ball2",
}
SEEDS = 2


def read(folder: Path) -> EventAccumulator:
    """All events of a folder, none of them thinned out."""
    return EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def folders(out: Path) -> list[str]:
    """Folders of `out` that hold events, as TensorBoard lists them."""
    return sorted(str(path.parent.relative_to(out)) for path in out.rglob(event_files.EVENTS))


@pytest.fixture
def group(tmp_path) -> list[str]:
    """Words that export the group from copies of some committed records, on two seeds."""
    place = tmp_path / "copies/laptop/records"
    place.mkdir(parents=True)
    for name in ROWS.values():
        for seed in range(SEEDS):
            file = f"cifar10-robust-symmetric0.4-{name}-seed{seed}.json"
            shutil.copy(Path("results/laptop/records") / file, place)
    return ["tensorboard", *GROUP, "--set", f"results={tmp_path}/copies"]


@pytest.fixture(params=RECORDS)
def exported(request, tmp_path):
    """A committed record, and its events as they are read back."""
    path = Path("results") / request.param
    assert main(["tensorboard", str(path), "--out", str(tmp_path)]) == 0
    return packed.read_file(path), read(tmp_path / path.stem)


def test_every_value_of_curves_csv_is_there_and_no_other(exported):
    run, events = exported
    seen = set()
    for column, tag in event_files.TAGS.items():
        rows = [(row["epoch"], row[column]) for row in run.curves if row[column] is not None]
        if rows:
            seen.add(tag)
            points = events.Scalars(tag)
            assert [(p.step, p.wall_time) for p in points] == [(e, e) for e, _ in rows]
            assert [p.value for p in points] == [np.float32(value) for _, value in rows]
    assert set(events.Tags()["scalars"]) == seen | {event_files.BEST}


def test_best_is_the_largest_so_far(exported):
    run, events = exported
    tops = [(point.step, point.value) for point in events.Scalars("acc/test_top1")]
    best = [(point.step, point.value) for point in events.Scalars("acc/test_top1_best")]
    assert best == [(step, max(v for s, v in tops if s <= step)) for step, _ in tops]
    assert best[-1][1] == pytest.approx(run.metrics["best_top1"], rel=1e-5)


def test_tags_are_the_slides_and_every_column_has_one():
    slides = {"acc/test_top1", "acc/test_top5", "acc/test_top1_best"}
    tags = [*event_files.TAGS.values(), event_files.BEST]
    assert slides <= set(tags) and len(set(tags)) == len(tags)
    assert ["epoch", *event_files.TAGS] == list(record.CURVES)


def test_hyperparameters_join_seeds_and_tell_rows_apart(tmp_path, group):
    out = tmp_path / "events"
    assert main([*group, "--out", str(out)]) == 0

    trials: dict[str, list] = {}
    for folder in folders(out):
        held = read(out / folder).SummaryMetadata("_hparams_/session_start_info")
        start = HParamsPluginData.FromString(held.plugin_data.content).session_start_info
        trials.setdefault(start.group_name, []).append(start.hparams)
    assert [len(sessions) for sessions in trials.values()] == [SEEDS] * len(ROWS)
    assert all(session == sessions[0] for sessions in trials.values() for session in sessions)

    weighted = trials["cifar10-robust-symmetric0.4-facility_location0.4-ball2"][0]
    spec = packed.read_file(
        Path("results/laptop/records")
        / "cifar10-robust-symmetric0.4-facility_location0.4-ball2-seed0.json"
    ).spec
    assert weighted["method"].string_value == spec.method
    assert weighted["ratio"].number_value == spec.ratio
    assert weighted["batch_size"].number_value == spec.batch_size != 128
    assert weighted["milestones"].string_value == str(list(spec.milestones))
    assert "seed" not in weighted and "momentum" not in weighted  # momentum is at its default


def test_a_second_call_writes_the_same_bytes_and_doubles_nothing(tmp_path):
    for _ in range(2):
        assert main(["tensorboard", "--scale", "laptop", FULL, "--out", str(tmp_path)]) == 0
        digests = contents(tmp_path)
    assert len(read(tmp_path / FULL).Scalars("acc/test_top1")) == 80
    assert sorted(digests) == [".robustfl.lock", f"{FULL}/{event_files.EVENTS}"]

    # another process writes them too
    command = [sys.executable, "-m", "robustfl", "tensorboard", "--scale", "laptop", FULL]
    subprocess.run([*command, "--out", str(tmp_path)], check=True)
    assert contents(tmp_path) == digests


@pytest.mark.parametrize("name", ["cifar10-robust-symmetric0.4-centrality0.4-ball2-seed0", FULL])
def test_bytes_are_the_same_in_every_process(name):
    code = """
import hashlib, sys
from pathlib import Path
from robustfl.evidence import event_files
from robustfl.study import packed
run = packed.read_file(Path(sys.argv[1]))
print(hashlib.sha256(event_files.event_bytes(run)).hexdigest(), "torch" in sys.modules)
"""
    path = Path(f"results/laptop/records/{name}.json")
    command = [sys.executable, "-c", code, str(path)]
    printed = [subprocess.check_output(command, text=True) for _ in range(3)]
    ours = hashlib.sha256(event_files.event_bytes(packed.read_file(path))).hexdigest()
    assert printed == [f"{ours} False\n"] * 3


def test_out_holds_the_last_call_alone_and_nothing_beside_it_changes(tmp_path, group):
    (tmp_path / "mine").write_text("kept")
    out = tmp_path / "events"
    assert main([*group, "*-seed0", "--out", str(out)]) == 0
    assert len(folders(out)) == len(ROWS)

    # a call that was killed has left a part of a file
    part = out / "gone" / f".{event_files.EVENTS}.1-1.partial"
    part.parent.mkdir()
    part.write_text("")
    assert main(["tensorboard", "--scale", "laptop", FULL, "--out", str(out)]) == 0
    assert folders(out) == [FULL]
    assert sorted(path.name for path in out.iterdir()) == [".robustfl.lock", FULL]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copies", "events", "mine"]
    assert (tmp_path / "mine").read_text() == "kept"


@pytest.mark.parametrize(
    "foreign", ["notes.txt", "run/events.out.tfevents.1700000000.host.1.0", "run/.robustfl.lock"]
)
def test_an_out_with_foreign_files_is_refused_untouched(tmp_path, capsys, foreign):
    out = tmp_path / "events"
    assert main(["tensorboard", "--scale", "laptop", FULL, "--out", str(out)]) == 0
    (out / foreign).parent.mkdir(exist_ok=True)
    (out / foreign).write_text("kept")
    before = contents(out)
    assert main(["tensorboard", *GROUP, "--out", str(out)]) == 2
    assert f"--out must hold nothing but what `robustfl tensorboard` wrote there; got '{out}/" in (
        capsys.readouterr().err
    )
    assert contents(out) == before


def test_a_link_in_out_is_refused_and_never_followed(tmp_path, capsys):
    other = tmp_path / "other"
    assert main(["tensorboard", "--scale", "laptop", FULL, "--out", str(other)]) == 0
    before = contents(other)
    (tmp_path / "events").mkdir()
    (tmp_path / "events/link").symlink_to(other)
    words = ["tensorboard", *GROUP, "--out", str(tmp_path / "events")]
    assert main(words) == 2
    assert "--out must hold nothing but" in capsys.readouterr().err
    assert contents(other) == before


def test_a_failed_write_leaves_the_old_events(tmp_path, monkeypatch, group):
    out = tmp_path / "events"
    assert main([*group, "*-seed0", "--out", str(out)]) == 0
    before = contents(out)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    assert main(["tensorboard", "--scale", "laptop", FULL, "--out", str(out)]) == 1
    assert contents(out) == before


def test_a_group_is_listed_by_its_rows(tmp_path, capsys, group):
    out = tmp_path / "events"
    assert main([*group, "*-seed0", "--out", str(out)]) == 0
    assert folders(out) == [f"noise_0.4_cifar10/{row}, seed 0" for row in ROWS]
    run = packed.read_file(Path(f"results/laptop/records/{FULL}.json"))
    shown = read(out / "noise_0.4_cifar10/full, seed 0").Scalars("acc/test_top1")
    assert [point.value for point in shown] == [np.float32(r["test_top1"]) for r in run.curves]
    # `full, another shuffle` has no record among the copies
    assert capsys.readouterr().out.startswith("7 runs written; without a record yet: 1. ")


def plant(folder: Path, spec: RunSpec) -> RunSpec:
    """A run's folder with planted curves."""
    rows = curves(spec, 50.0, 45.0)
    timings = [{"epoch": r["epoch"]} | dict.fromkeys(record.TIMINGS[1:], 0.1) for r in rows]
    record.write(folder, spec, metrics(folder.name, spec, rows), rows, timings)
    return spec


def test_folders_of_runs_of_any_scale_and_place_are_records(tmp_path, tiny):
    here = tmp_path / "here"
    first = plant(here / "own/runs/mine", tiny)
    packed.pack(here / "own/runs/mine", "mine", first)
    second = plant(here / "own/runs/mine", dataclasses.replace(tiny, lr=0.5))
    plant(here / "own/runs/other", tiny)

    # the default place, and two runs of one name
    words = ["tensorboard", "--scale", "own", "--set", f"results={here}"]
    assert main(words) == 0
    out = here / "own/tensorboard"
    assert folders(out) == sorted(["mine", f"mine-{second.hash}", "other"])
    assert read(out / f"mine-{second.hash}").Scalars("lr")[0].value == 0.5

    # a folder and a packed file by their paths
    paths = [str(here / "own/runs/other"), str(here / "own/records/mine.json")]
    assert main([*words, *paths, "--out", str(tmp_path / "b")]) == 0
    assert folders(tmp_path / "b") == ["mine", "other"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scale", "typo"], "scale must be one of smoke"),
        (["--scale", "laptop", "zz*"], "RUN must name or match a run with a record in"),
        (["--scale", "laptop", FULL, "full"], "got 'full'"),
        (["--scale", "ladder"], "RUN must name or match a run with a record in results/ladder"),
        (["--scale", "laptop", "--group", "typo"], "--group must be one of set_cover_cifar10, "),
        ([*GROUP, "fashion*"], "RUN must name or match a run of noise_0.4_cifar10; got 'fashion*'"),
        (
            ["--scale", "desk", "--group", "ratio_cifar10", "--set", "results=nowhere"],
            "--group must have a record in nowhere/desk; got ratio_cifar10",
        ),
        ([f"results/{RECORDS[0]}"] * 2, "RUN must give each run once"),
        (["results/laptop"], "RUN must be the path of a run's folder or packed record; got"),
        (["--scale", "laptop", FULL, "--out", ""], "--out must hold nothing but"),
        (["--scale", "laptop", FULL, "--out", "README.md"], "--out must be a folder that"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys, words, message):
    out = [] if "--out" in words else ["--out", str(tmp_path / "events")]
    assert main(["tensorboard", *words, *out]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "events").exists()


def test_a_broken_record_is_named(tmp_path, capsys):
    broken = tmp_path / "own/records/run.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    assert main(["tensorboard", "--scale", "own", "--set", f"results={tmp_path}"]) == 1
    assert f"{broken}: packed record must be complete" in capsys.readouterr().err
    assert not (tmp_path / "own/tensorboard").exists()


def test_the_page_has_the_last_best_of_its_picture_s_lines(tmp_path):
    """docs/tensorboard.md: its table is what its own command writes."""
    assert main(["tensorboard", *GROUP, "*-seed0", "--out", str(tmp_path)]) == 0
    page = Path("docs/tensorboard.md").read_text()
    published = yaml.safe_load(Path("config/slides.yaml").read_text())["noise_0.4_cifar10"]

    def best(line: str) -> str:
        events = read(tmp_path / f"noise_0.4_cifar10/{line}, seed 0")
        return f"{events.Scalars(event_files.BEST)[-1].value:.2f}"

    for line in ("full", "weighted only"):
        assert f"| {line} | {published[line]['best']:.2f} | {best(line)} | |\n" in page
    for line in ("FL only", "FL weighted"):
        ours = f"{best(f'{line} (exact)')} | {best(f'{line} (released)')}"
        assert f"| {line} | {published[line]['best']:.2f} | {ours} |\n" in page


def test_the_page_names_every_tag():
    page = Path("docs/tensorboard.md").read_text()
    for column, tag in event_files.TAGS.items():
        room = tag.partition("/")[0]
        assert f"`{tag}`" in page or (f"`{room}/…`" in page and f"`{column}`" in page), tag
    assert f"`{event_files.BEST}`" in page
