"""Packed records: the same bytes back, refused when broken or foreign, used instead of training."""

import json
import time
from pathlib import Path

import pytest
from synthetic import write_study

from robustfl.cli import main
from robustfl.evidence import tables
from robustfl.execution import run
from robustfl.study import experiments, packed, record
from robustfl.study.run_spec import RunSpec

RECORDS = Path("results/laptop/records")
NAMES = [  # with label noise and picks, with neither, and with a selection from a pretrained model
    "cifar10-robust-symmetric0.4-facility_location0.4-ball2-seed0",
    "fashion_mnist-speed-random0.2-seed1",
    "cifar10-robust-symmetric0.4-forgetting0.4-forgetting-warmup0-seed2",
]
SMOKE = "fashion_mnist-speed-random0.2-seed0"


def spec_of(name: str) -> RunSpec:
    return experiments.load("laptop").spec(name)


@pytest.fixture
def copied(tmp_path):
    """The first name's packed file in results of its own, and the place of the run's folder."""
    folder = tmp_path / "laptop/runs" / NAMES[0]
    path = packed.place(folder)
    path.parent.mkdir(parents=True)
    path.write_bytes((RECORDS / path.name).read_bytes())
    return path, folder


@pytest.fixture
def planted(tmp_path):
    """A finished smoke run with planted numbers: its study, config, folder and spec."""
    known = experiments.load("smoke", {"groups": ["speed_fashion_mnist"]})
    config = write_study(tmp_path, known)
    return known, config, Path(config["results"]) / "smoke/runs" / SMOKE, known.spec(SMOKE)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in record.FILES}


def test_a_real_run_comes_back_byte_for_byte(tiny, tmp_path):
    folder = tmp_path / "smoke/runs/tiny"
    options = run.Options(device="cpu", cache=str(tmp_path), log=lambda line: None)
    run.run_to_record(tiny, folder, "tiny", options)
    path = packed.pack(folder, "tiny", tiny)
    assert path == tmp_path / "smoke/records/tiny.json"
    packed.unpack(path, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(folder)
    assert packed.read_file(path, tiny).curves == record.read(folder, "tiny", tiny).curves


@pytest.mark.parametrize("name", NAMES)
def test_committed_records_unpack_and_pack_into_the_same_file(name, tmp_path):
    folder = tmp_path / "laptop/runs" / name
    committed = RECORDS / f"{name}.json"
    packed.unpack(committed, folder, spec_of(name))
    assert sorted(path.name for path in folder.iterdir()) == sorted(record.FILES)
    again = packed.pack(folder, name, spec_of(name))
    assert again.read_bytes() == committed.read_bytes()


def test_a_line_of_a_csv_is_a_line_of_the_file(copied):
    path, folder = copied
    packed.unpack(path, folder)
    lines = {line.strip().rstrip(",") for line in path.read_text().splitlines()}
    for table in ("curves.csv", "timings.csv", "classes.csv"):
        assert {f'"{line}"' for line in (folder / table).read_text().splitlines()} <= lines


def change(edit):
    """A change of the packed file's JSON value."""

    def changed(text: str) -> str:
        held = json.loads(text)
        edit(held)
        return json.dumps(held, indent=1) + "\n"

    return changed


@pytest.mark.parametrize(
    "broken",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "<<<<<<< ours\n" + text,
        lambda text: text.replace('"epochs": 80', '"epochs": 90'),
        change(lambda held: held.pop("picks.json")),
        change(lambda held: held.update(more=1)),
        change(lambda held: held.update({"metrics.json": []})),
        change(lambda held: held.update({"curves.csv": "epoch"})),
        change(lambda held: held["curves.csv"].pop()),
        change(lambda held: held["timings.csv"].pop(0)),
        change(lambda held: held["curves.csv"].append(None)),
        change(lambda held: held["metrics.json"].update(spec_hash="0" * 16)),
        change(lambda held: held["spec.json"].update(unknown=1)),
    ],
)
def test_broken_files_are_refused_by_name(copied, broken):
    path, folder = copied
    path.write_text(broken(path.read_text()))
    with pytest.raises(record.RecordError, match=path.name):
        packed.read(folder, NAMES[0], spec_of(NAMES[0]))
    with pytest.raises(record.RecordError, match=path.name):
        packed.unpack(path, folder)
    assert not folder.exists()


def test_another_run_s_record_is_refused_by_name(copied):
    path, _ = copied
    other = "cifar10-robust-symmetric0.4-facility_location0.4-ball2-seed1"
    path.write_bytes((RECORDS / f"{other}.json").read_bytes())
    with pytest.raises(record.RecordError, match=f"{path.name}.*seed: 1 -> 0.*stale"):
        packed.read_file(path, spec_of(NAMES[0]))


def test_heads_of_a_thousand_files_are_read_at_once(tmp_path):
    spec = spec_of(NAMES[0])
    folders = [tmp_path / "runs" / str(i) for i in range(1000)]
    (tmp_path / "records").mkdir()
    text = (RECORDS / f"{NAMES[0]}.json").read_bytes()
    for folder in folders:
        packed.place(folder).write_bytes(text)
    start = time.process_time()
    assert all(packed.find(folder, spec) for folder in folders)
    assert time.process_time() - start < 0.2


def test_only_folders_in_runs_have_a_packed_file(tmp_path):
    assert packed.place(tmp_path / "run") is None
    assert packed.find(tmp_path / "run", RunSpec()) is None
    assert packed.find(tmp_path / "runs/absent", RunSpec()) is None


def test_the_packed_record_of_the_spec_is_read_before_a_folder(planted):
    known, config, folder, spec = planted
    path = packed.pack(folder, SMOKE, spec)
    (folder / "spec.json").write_text("{}")
    assert packed.read(folder, SMOKE, spec).file == path
    assert tables.gather(known, config).records[SMOKE].file == path


def test_without_a_packed_record_of_the_spec_the_folder_is_read(planted):
    _, _, folder, spec = planted
    path = packed.pack(folder, SMOKE, spec)
    path.write_text(path.read_text().replace(spec.identity, "0" * 16))
    assert packed.read(folder, SMOKE, spec).file == folder / "metrics.json"


def test_pack_refuses_what_would_not_come_back(planted):
    _, _, folder, spec = planted
    path, whole = packed.place(folder), (folder / "spec.json").read_text()
    (folder / "spec.json").write_text(whole.replace("\n", ""))
    with pytest.raises(record.RecordError, match=f"{SMOKE}.*not the same: spec.json"):
        packed.pack(folder, SMOKE, spec)
    (folder / "spec.json").write_text(whole)
    with pytest.raises(record.RecordError, match="stale"):
        packed.pack(folder, SMOKE, experiments.load("smoke", {"epochs": 2}).spec(SMOKE))
    assert not path.exists()


def test_pack_replaces_another_spec_s_record_and_no_other(planted):
    _, _, folder, spec = planted
    path = packed.pack(folder, SMOKE, spec)
    whole = path.read_bytes()
    timings = (folder / "timings.csv").read_text()
    (folder / "timings.csv").write_text(timings.replace("0.2", "0.3"))
    with pytest.raises(record.RecordError, match=f"{path.name} must hold.*same: timings.csv"):
        packed.pack(folder, SMOKE, spec)
    assert path.read_bytes() == whole
    path.write_bytes(whole.replace(spec.identity.encode(), b"0" * 16))
    packed.pack(folder, SMOKE, spec)
    assert packed.read_file(path, spec).timings[0]["train"] == 0.3


def test_train_restores_a_packed_record(copied, capsys):
    path, folder = copied
    words = ["train", NAMES[0], "--scale", "laptop", "--out", str(folder)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert said == f"{NAMES[0]}: restored from {path}; delete that file to train again\n"
    assert record.read(folder, NAMES[0], spec_of(NAMES[0])).metrics["name"] == NAMES[0]


def test_train_refuses_a_broken_packed_record(copied, capsys):
    path, folder = copied
    path.write_text(path.read_text()[:5000])
    assert main(["train", NAMES[0], "--scale", "laptop", "--out", str(folder)]) == 1
    assert path.name in capsys.readouterr().err and not folder.exists()


def test_train_uses_no_packed_record_of_another_spec(planted, capsys):
    _, config, folder, spec = planted
    packed.pack(folder, SMOKE, spec)
    for name in record.FILES:
        (folder / name).unlink()
    words = ["train", SMOKE, "--scale", "smoke", "--no-worker", "--set", "epochs=1"]
    words += ["--set", f"results={config['results']}", "--set", f"cache={folder.parents[3]}/cache"]
    assert main(words) == 0
    assert "restored" not in capsys.readouterr().out
    short = experiments.load("smoke", {"epochs": 1}).spec(SMOKE)
    assert record.read(folder, SMOKE, short).spec.epochs == 1
