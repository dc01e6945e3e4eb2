import json

import pytest

from robustfl.study import record
from robustfl.study.run_spec import RunSpec

SPEC = RunSpec(epochs=2)
FILES = ["curves.csv", "metrics.json", "spec.json", "timings.csv", "classes.csv", "picks.json"]


@pytest.fixture
def written(tmp_path):
    row = dict.fromkeys(record.CURVES, 1.0)
    timing = dict.fromkeys(record.TIMINGS, 0.5)
    metrics = dict.fromkeys(record.METRICS, 0) | {"spec_hash": SPEC.hash}
    curves = [row | {"epoch": e, "heldout_acc": None, "train_loss": 1 / 3} for e in (1, 2)]
    record.write(tmp_path / "run", SPEC, metrics, curves, [timing | {"epoch": e} for e in (1, 2)])
    return tmp_path / "run"


def test_round_trip(written):
    held = record.read(written, "name", SPEC)
    assert held.spec == SPEC
    assert held.curves[1]["epoch"] == 2 and held.curves[0]["heldout_acc"] is None
    assert held.curves[0]["train_loss"] == pytest.approx(1 / 3, abs=1e-6)
    assert sorted(p.name for p in written.iterdir()) == sorted(FILES)


def test_stale_record_is_refused_and_the_field_named(written):
    with pytest.raises(record.RecordError, match="epochs: 2 -> 3.*stale"):
        record.read(written, "name", RunSpec(epochs=3))


def test_edited_hash_is_refused(written):
    metrics = json.loads((written / "metrics.json").read_text())
    (written / "metrics.json").write_text(json.dumps(metrics | {"spec_hash": "0" * 16}))
    with pytest.raises(record.RecordError, match="metrics.json must be of spec"):
        record.read(written, "name", SPEC)


@pytest.mark.parametrize("name", FILES)
def test_missing_or_cut_files_are_refused(written, name):
    path = written / name
    text = path.read_text()
    path.write_text(text[: len(text) // 3])
    with pytest.raises(record.RecordError, match="rerun"):
        record.read(written, "name", SPEC)
    path.unlink()
    with pytest.raises(record.RecordError, match="rerun"):
        record.read(written, "name", SPEC)


def test_undocumented_metrics_are_refused(tmp_path):
    with pytest.raises(record.RecordError, match="accuracy"):
        record.write(tmp_path, SPEC, dict.fromkeys(record.METRICS, 0) | {"accuracy": 1}, [], [])
    assert not list(tmp_path.iterdir())


def test_a_record_older_than_a_column_or_key_reads_as_none_there(written, monkeypatch):
    monkeypatch.setattr(record, "ADDED", frozenset({"gain", "total_gain"}))
    monkeypatch.setattr(record, "CURVES", (*record.CURVES, "gain"))
    monkeypatch.setattr(record, "METRICS", (*record.METRICS, "total_gain"))
    held = record.read(written, "name", SPEC)
    assert [row["gain"] for row in held.curves] == [None, None] and held.metrics[
        "total_gain"
    ] is None

    path = written / "curves.csv"
    path.write_text(
        path.read_text()
        .replace("\n", ",0.5\n")
        .replace("effective_size,0.5", "effective_size,gain")
    )
    assert record.read(written, "name", SPEC).curves[0]["gain"] == 0.5


@pytest.mark.parametrize(
    ("old", "new"),
    [("effective_size\n", "effective_size,gain\n"), ("epoch,lr,", "lr,epoch,"), ("lr,", "")],
)
def test_unknown_moved_and_absent_columns_are_refused(written, monkeypatch, old, new):
    monkeypatch.setattr(record, "ADDED", frozenset({"later"}))
    path = written / "curves.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(record.RecordError, match="curves.csv must have the columns"):
        record.read(written, "name", SPEC)
