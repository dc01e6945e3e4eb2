"""The files that a data set may come in.

No network: small ones made from the committed sample, hashes replaced to match.
"""

import gzip
import pickle
import shutil
from pathlib import Path

import pytest

from robustfl import data
from robustfl.data import cifar10, fashion_mnist

SILENT = {"log": lambda line: None}


def load(name: str, folder: Path, cache: Path) -> data.Arrays:
    return data.load(name, source="folder", folder=folder, cache=cache, **SILENT)


# CIFAR-10 from files


@pytest.mark.parametrize("layout", ["root", "batches", "archive"])
def test_official_cifar_layouts(official_cifar, tmp_path, layout):
    if layout == "archive":
        shutil.rmtree(official_cifar / "cifar-10-batches-py")
    folder = official_cifar / "cifar-10-batches-py" if layout == "batches" else official_cifar
    assert load("cifar10", folder, tmp_path / "cache").hashes == data.DATASETS["cifar10"].sha256


def test_truncated_or_missing_batch_is_named(official_cifar, tmp_path):
    path = official_cifar / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        data.DataError, match=r"data_batch_3: must have md5 .*; got .* bytes; wrong or truncated: d"
    ):
        load("cifar10", official_cifar, tmp_path / "cache")
    path.unlink()
    with pytest.raises(
        data.DataError, match=r"data_batch_3: must be there; got no such file; download"
    ):
        load("cifar10", official_cifar, tmp_path / "cache")


def test_an_unknown_pickle_is_not_run(official_cifar, tmp_path):
    class Program:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    (official_cifar / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps(Program()))
    with pytest.raises(data.DataError, match="data_batch_1: must have md5"):
        load("cifar10", official_cifar, tmp_path / "cache")
    assert not (tmp_path / "ran").exists()


def test_truncated_archive_is_named(official_cifar, tmp_path):
    shutil.rmtree(official_cifar / "cifar-10-batches-py")
    archive = official_cifar / cifar10.ARCHIVE
    archive.write_bytes(archive.read_bytes()[:1000])
    with pytest.raises(
        data.DataError, match=r"cifar-10-python.tar.gz: must have md5 .* 1,000 bytes; .*download"
    ):
        load("cifar10", official_cifar, tmp_path / "cache")


@pytest.mark.parametrize("parent", [False, True])
def test_unpacked_npm_package(package_cifar, tmp_path, parent):
    folder = package_cifar.parent if parent else package_cifar
    assert load("cifar10", folder, tmp_path / "cache").hashes == data.DATASETS["cifar10"].sha256


def test_wrong_png_is_named(package_cifar, tmp_path):
    (package_cifar / "test_batch.png").write_bytes(
        (package_cifar / "data_batch_1.png").read_bytes()
    )
    with pytest.raises(data.DataError, match="test_batch.png: must have sha256"):
        load("cifar10", package_cifar, tmp_path / "cache")


# FashionMNIST from files


@pytest.mark.parametrize("layout", ["root", "raw", "plain", "debian"])
def test_fashion_mnist_layouts(raw_fashion, tmp_path, layout):
    folder = raw_fashion if layout == "raw" else raw_fashion.parents[1]
    if layout == "plain":
        for path in raw_fashion.glob("*.gz"):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
    if layout == "debian":
        folder = tmp_path / "unpacked"
        shutil.move(raw_fashion, folder / fashion_mnist.PACKAGE_FOLDER)
    assert (
        load("fashion_mnist", folder, tmp_path / "cache").hashes
        == data.DATASETS["fashion_mnist"].sha256
    )


@pytest.mark.parametrize("compressed", [True, False])
def test_truncated_idx_is_named(raw_fashion, tmp_path, compressed):
    path = raw_fashion / "t10k-images-idx3-ubyte.gz"
    content = path.read_bytes()
    if not compressed:
        path.unlink()
        path, content = path.with_suffix(""), gzip.decompress(content)
    path.write_bytes(content[:-500])
    rule = (
        "must be a whole gzip file" if compressed else r"must hold 156,800 values, .*; got 156,300"
    )
    with pytest.raises(
        data.DataError, match=f"{path.name}: {rule}.*wrong or truncated: download it again"
    ):
        load("fashion_mnist", raw_fashion, tmp_path / "cache")


def test_wrong_idx_is_named(raw_fashion, tmp_path):
    path = raw_fashion / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] = (content[-1] + 1) % 10
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(
        data.DataError,
        match="t10k-labels-idx1-ubyte.gz: array must have sha256 .*; got .*download it",
    ):
        load("fashion_mnist", raw_fashion, tmp_path / "cache")
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(
        data.DataError, match="t10k-labels-idx1-ubyte.gz: must be a whole gzip file"
    ):
        load("fashion_mnist", raw_fashion, tmp_path / "cache")
    path.unlink()
    with pytest.raises(data.DataError, match="t10k-labels-idx1-ubyte: must be there, plain or .gz"):
        load("fashion_mnist", raw_fashion, tmp_path / "cache")


@pytest.mark.parametrize("name", data.DATASETS)
def test_a_folder_without_data_says_what_it_may_hold(name, tmp_path):
    with pytest.raises(
        data.DataError, match=f"{tmp_path}: folder must hold .*; got none of these; download"
    ):
        load(name, tmp_path, tmp_path / "cache")
