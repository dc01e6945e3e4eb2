import dataclasses

import pytest
import torch

from robustfl import files
from robustfl.execution import checkpoint
from robustfl.execution.preparation import Options
from robustfl.execution.run import run_to_record

STATE = {"model": {"w": torch.arange(5.0)}, "epoch": 3, "none": None}


def test_round_trip_and_the_previous_one_is_kept(tmp_path):
    path = tmp_path / "c.ckpt"
    checkpoint.save(path, checkpoint.pack("abc", STATE))
    checkpoint.save(path, checkpoint.pack("abc", STATE | {"epoch": 4}))
    assert checkpoint.load(path, "abc")["epoch"] == 4
    assert checkpoint.load(checkpoint.previous(path), "abc")["epoch"] == 3
    assert torch.equal(checkpoint.load(path, "abc")["model"]["w"], torch.arange(5.0))


@pytest.mark.parametrize("tenth", range(10))
def test_cut_checkpoint_is_set_aside_and_the_one_before_is_used(tmp_path, tenth):
    path, log = tmp_path / "c.ckpt", []
    for epoch in (3, 4):
        checkpoint.save(path, checkpoint.pack("abc", STATE | {"epoch": epoch}))
    body = path.read_bytes()
    path.write_bytes(body[: len(body) * tenth // 10])
    assert checkpoint.last_good(path, "abc", log.append)["epoch"] == 3
    assert len(log) == 1 and "c.ckpt" in log[0] and (tmp_path / "c.ckpt.rejected").exists()


@pytest.mark.parametrize("where", [0.02, 0.5, 0.99])
def test_one_flipped_bit_is_seen(tmp_path, where):
    path = tmp_path / "c.ckpt"
    checkpoint.save(path, checkpoint.pack("abc", STATE))
    body = bytearray(path.read_bytes())
    body[int(len(body) * where)] ^= 1
    path.write_bytes(bytes(body))
    with pytest.raises(checkpoint.CheckpointError):
        checkpoint.load(path, "abc")


def test_foreign_checkpoint_is_refused(tmp_path):
    log = []
    checkpoint.save(tmp_path / "c.ckpt", checkpoint.pack("abc", STATE))
    assert checkpoint.last_good(tmp_path / "c.ckpt", "xyz", log.append) is None
    assert "must belong to spec xyz; got abc" in log[0]


def test_full_disk_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "c.ckpt"
    checkpoint.save(path, checkpoint.pack("abc", STATE))
    monkeypatch.setattr(
        files.os,
        "fsync",
        lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, checkpoint.pack("abc", STATE | {"epoch": 9}))
    assert checkpoint.load(path, "abc")["epoch"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["c.ckpt"]


@pytest.mark.parametrize(
    "changes",
    [
        {
            "method": "facility_location",
            "ratio": 0.5,
            "selection_interval": 2,
            "batch_order": "greedy",
        },
        {"method": "random", "ratio": 0.5, "optimizer": "adam", "lr": 0.001},
        {"method": "full", "weights": "ball", "radius": 1.0, "precision": "bf16"},
    ],
)
def test_resumed_is_uninterrupted_to_the_bit(tiny, tmp_path, changes):
    spec = dataclasses.replace(tiny, epochs=5, warmup=1, noise="pair", noise_rate=0.3, **changes)
    log = []
    options = Options("cpu", str(tmp_path / "cache"), checkpoint_every=1, log=log.append)
    whole = run_to_record(spec, tmp_path / "whole", "run", options)

    class Killed(BaseException):
        pass

    def dying_after(epoch):
        def die(progress):
            if progress.epoch == epoch:
                raise Killed

        return die

    for epoch in (1, 2, 4):
        with pytest.raises(Killed):
            run_to_record(spec, tmp_path / "cut", "run", options, dying_after(epoch))
        assert not (tmp_path / "cut/metrics.json").exists()
    again = run_to_record(spec, tmp_path / "cut", "run", options)
    assert [line for line in log if "going on" in line] == [
        f"going on after epoch {e} of 5" for e in (1, 2, 4)
    ]
    assert (tmp_path / "cut/curves.csv").read_bytes() == (
        tmp_path / "whole/curves.csv"
    ).read_bytes()
    for key in ("selection_hash", "forwards", "backwards"):
        assert whole[key] == again[key]
    assert whole["provenance"]["weights_hash"] == again["provenance"]["weights_hash"]
    assert not list((tmp_path / "cut").glob("*.ckpt*")), "a finished run leaves no checkpoint"


def test_checkpoints_behind_a_link_stay_there(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    link = tmp_path / "c.ckpt"
    link.symlink_to("disk/real.ckpt")
    for epoch in (1, 2):
        checkpoint.save(link, checkpoint.pack("abc", {"epoch": epoch}))
    assert sorted(path.name for path in disk.iterdir()) == ["real.ckpt", "real.ckpt.previous"]

    # a damaged one is set aside beside the one before, and the link stays
    (disk / "real.ckpt").write_bytes(b"cut")
    assert checkpoint.last_good(link, "abc", lambda line: None)["epoch"] == 1
    assert (disk / "real.ckpt.rejected").exists() and link.is_symlink()
    checkpoint.remove(link)
    assert [path.name for path in disk.iterdir()] == ["real.ckpt.rejected"]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []
