"""Loading: the cache and its verification, the lock, the order of sources. No network."""

import dataclasses
import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest

from robustfl import data
from robustfl.data import data_cache
from robustfl.data.base import digest

SILENT = {"log": lambda line: None}


def tiny_arrays() -> dict[str, np.ndarray]:
    values = np.random.default_rng(0)
    return {
        "train_images": values.integers(0, 256, (6, 3, 4, 4), dtype=np.uint8),
        "train_labels": np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8),
        "test_images": values.integers(0, 256, (3, 3, 4, 4), dtype=np.uint8),
        "test_labels": np.array([2, 1, 0], dtype=np.uint8),
    }


def never(folder):
    raise AssertionError("this source must not be asked")


def tiny_dataset(**changes) -> data.Dataset:
    arrays = tiny_arrays()
    facts = dict(
        name="tiny",
        title="Tiny",
        classes=("a", "b", "c"),
        shape=(3, 4, 4),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        sha256={key: digest(array) for key, array in arrays.items()},
        train_size=6,
        test_size=3,
        probes=(),
        from_torchvision=never,
        from_folder=never,
        from_registry=lambda folder: data.Arrays.of(tiny_arrays(), "registry"),
    )
    return data.Dataset(**(facts | changes))


@pytest.fixture
def tiny(monkeypatch):
    """Register a tiny data set that the 'registry' has; a call registers a changed one."""

    def register(**changes) -> data.Dataset:
        monkeypatch.setitem(data.DATASETS, "tiny", tiny_dataset(**changes))
        return data.DATASETS["tiny"]

    register()
    return register


# arguments


def test_unknown_names_and_sources_are_named():
    names = ", ".join(data.DATASETS)
    with pytest.raises(data.DataError, match=f"dataset must be one of {names}; got 'cifar'"):
        data.load("cifar")
    with pytest.raises(data.DataError, match="source must be one of auto, .* sample; got 'torch'"):
        data.load("cifar10", source="torch")
    with pytest.raises(data.DataError, match="folder must be given with source 'folder'"):
        data.fetch("cifar10", source="folder")
    with pytest.raises(data.DataError, match="source must not be 'sample' to fetch"):
        data.fetch("cifar10", source="sample")


def test_cache_that_cannot_be_written_is_named(tmp_path, tiny):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(data.DataError, match="cache/data: cache must be a writable directory"):
        data.load("tiny", source="registry", cache=tmp_path / "cache", **SILENT)


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, tiny, monkeypatch):
    def full(file, array, allow_pickle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(
        data.DataError, match="data/tiny: cache must be written; got .*No space left.*; free space"
    ):
        data.load("tiny", source="registry", cache=tmp_path, **SILENT)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".tiny.lock"]


# the cache


def test_fetch_writes_what_load_returns_and_check_verifies(tmp_path, tiny):
    lines = []
    loaded = data.load("tiny", source="registry", cache=tmp_path, log=lines.append)
    assert loaded.source == "registry" and "tiny: trying registry ..." in lines
    for key, array in tiny_arrays().items():
        assert np.array_equal(getattr(loaded, key), array)
    assert (
        data.check("tiny", cache=tmp_path, **SILENT)
        == loaded.hashes
        == data.DATASETS["tiny"].sha256
    )
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        ".tiny.lock",
        "tiny",
    ]  # no leftovers
    tiny(from_registry=never)  # from now on the cache answers, whatever the source
    assert data.load("tiny", source="auto", cache=tmp_path, **SILENT).hashes == loaded.hashes


def test_check_of_what_was_never_fetched_says_so(tmp_path, tiny):
    with pytest.raises(
        data.DataError, match="tiny must be fetched first.*run `robustfl data fetch tiny --cache "
    ):
        data.check("tiny", cache=tmp_path, **SILENT)


@pytest.mark.parametrize("key", data.KEYS)
def test_a_flipped_byte_is_named_and_fetch_mends_it(tmp_path, tiny, key):
    path = data.fetch("tiny", source="registry", cache=tmp_path, **SILENT) / f"{key}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for verify in (data.load, data.check):
        with pytest.raises(data.DataError) as caught:
            verify("tiny", cache=tmp_path, **SILENT)
        message = str(caught.value)
        expected = data.DATASETS["tiny"].sha256[key]
        assert str(path) in message and f"must have sha256 {expected}; got " in message
        assert "run `robustfl data fetch tiny" in message
    lines = []
    data.fetch("tiny", source="registry", cache=tmp_path, log=lines.append)
    assert any(str(path) in line for line in lines)
    data.check("tiny", cache=tmp_path, **SILENT)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-10])


def _empty(path):
    path.write_bytes(b"")


def _reshape(path):
    np.save(path, np.load(path)[:-1])


def _retype(path):
    np.save(path, np.load(path).astype(np.int64))


@pytest.mark.parametrize("damage", [_truncate, _empty, Path.unlink, _reshape, _retype])
def test_a_damaged_file_is_named(tmp_path, tiny, damage):
    path = data.fetch("tiny", source="registry", cache=tmp_path, **SILENT) / "test_images.npy"
    damage(path)
    with pytest.raises(
        data.DataError, match="test_images.npy: .*must be .*; got .*; run `robustfl data fetch tiny"
    ):
        data.load("tiny", cache=tmp_path, **SILENT)


def test_a_killed_fetch_leaves_nothing_that_counts(tmp_path, tiny):
    half = tmp_path / "data" / ".tiny.123.partial"
    half.mkdir(parents=True)
    (half / "train_images.npy").write_bytes(b"half")
    data.load("tiny", source="registry", cache=tmp_path, **SILENT)
    assert not half.exists()


def _load_slowly(cache: Path, calls: Path, barrier) -> None:
    def fetcher(folder: Path) -> data.Arrays:
        with open(calls, "a") as file:
            file.write("call\n")
        time.sleep(0.3)
        return data.Arrays.of(tiny_arrays(), "registry")

    data.DATASETS["tiny"] = tiny_dataset(from_registry=fetcher)  # this process's own table
    barrier.wait()
    data.load("tiny", source="registry", cache=cache, **SILENT)


def test_processes_that_start_at_once_fetch_once(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    args = (tmp_path / "cache", tmp_path / "calls", spawn.Barrier(3, timeout=60))
    processes = [spawn.Process(target=_load_slowly, args=args) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 3
    assert (tmp_path / "calls").read_text() == "call\n"


# the order of sources


def raising(message: str):
    def fetcher(folder):
        raise OSError(message)

    return fetcher


def test_auto_takes_the_first_source_that_has_it(tmp_path, tiny):
    tiny(from_torchvision=raising("host\n unreachable"))
    lines = []
    assert data.load("tiny", cache=tmp_path, log=lines.append).source == "registry"
    assert "tiny: not from torchvision: host unreachable" in lines  # one line, with the reason


def test_auto_prefers_torchvision(tmp_path, tiny):
    tiny(
        from_torchvision=lambda folder: data.Arrays.of(tiny_arrays(), "torchvision"),
        from_registry=never,
    )
    assert data.load("tiny", cache=tmp_path, **SILENT).source == "torchvision"


def test_auto_refuses_wrong_bytes_and_goes_on(tmp_path, tiny):
    wrong = tiny_arrays()
    wrong["train_labels"] = wrong["train_labels"][::-1]
    tiny(from_torchvision=lambda folder: data.Arrays.of(wrong, "torchvision"))
    lines = []
    assert data.load("tiny", cache=tmp_path, log=lines.append).source == "registry"
    assert any(
        "not from torchvision: torchvision, train_labels: tiny train_labels must have" in line
        for line in lines
    )


def test_when_all_sources_fail_each_reason_is_given(tmp_path, tiny):
    tiny(from_torchvision=raising("no host"), from_registry=raising("no npm"))
    with pytest.raises(
        data.DataError, match=r"torchvision: no host \| registry: no npm; check the network, or put"
    ):
        data.load("tiny", cache=tmp_path / "cache", **SILENT)
    with pytest.raises(
        data.DataError, match="folder: .*/absent: folder must be a directory; got nothing there"
    ):
        data.load("tiny", folder=tmp_path / "absent", cache=tmp_path / "cache", **SILENT)
    assert not data_cache.place("tiny", tmp_path / "cache").exists()


def test_folder_takes_our_own_layout(tmp_path, tiny):
    data.fetch("tiny", source="registry", cache=tmp_path / "a", **SILENT)
    tiny(from_registry=never)
    for number, folder in enumerate((tmp_path / "a" / "data", tmp_path / "a" / "data" / "tiny")):
        arrays = data.load(
            "tiny", source="folder", folder=folder, cache=tmp_path / f"b{number}", **SILENT
        )
        assert arrays.source == "folder"
    _truncate(tmp_path / "a" / "data" / "tiny" / "train_images.npy")
    with pytest.raises(
        data.DataError, match="a/data/tiny/train_images.npy: must be a whole .npy file"
    ):
        data.load(
            "tiny", source="folder", folder=tmp_path / "a" / "data", cache=tmp_path / "c", **SILENT
        )


def test_datasets_are_values():
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.DATASETS["cifar10"].name = "other"


def test_a_set_that_is_there_is_taken_from_a_folder_that_nobody_may_write(tmp_path, tiny):
    data.fetch("tiny", source="registry", cache=tmp_path, **SILENT)
    (tmp_path / "data/.tiny.lock").unlink()
    data.fetch("tiny", source="registry", cache=tmp_path, **SILENT)
    assert not (tmp_path / "data/.tiny.lock").exists()  # not even a lock was asked for


def test_a_damaged_set_behind_a_link_is_made_anew_where_it_lies(tmp_path, tiny):
    folder = data.fetch("tiny", source="registry", cache=tmp_path / "disk", **SILENT)
    place = tmp_path / "cache/data/tiny"
    place.parent.mkdir(parents=True)
    place.symlink_to(folder)
    (folder / "test_images.npy").write_bytes(b"cut")
    data.fetch("tiny", source="registry", cache=tmp_path / "cache", **SILENT)
    assert place.is_symlink()
    data.check("tiny", cache=tmp_path / "disk", **SILENT)
    assert sorted(path.name for path in place.parent.iterdir()) == ["tiny"]
