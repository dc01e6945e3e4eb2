"""Where data comes from: torchvision's download and the command line.

No network: the server is made here.
"""

import dataclasses
import functools
import hashlib
import http.server
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from robustfl import data
from robustfl.cli import main
from robustfl.data import cifar10, fashion_mnist, source_torchvision
from robustfl.data.base import digest

SILENT = {"log": lambda line: None}


# torchvision


def test_a_silent_host_costs_little():
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never answers
        start, url = time.monotonic(), f"http://127.0.0.1:{server.getsockname()[1]}/"
        reason = source_torchvision.unreachable(url, seconds=0.3)
        assert reason and time.monotonic() - start < 3
    assert "refused" in source_torchvision.unreachable(url)


def test_an_unreachable_host_is_not_downloaded_from(tmp_path, monkeypatch):
    def never(folder):
        raise AssertionError("must not be asked")

    kind = dataclasses.replace(
        data.DATASETS["cifar10"], probes=("http://127.0.0.1:9/x",), from_torchvision=never
    )
    monkeypatch.setitem(data.DATASETS, "cifar10", kind)
    with pytest.raises(
        data.DataError, match="torchvision: http://127.0.0.1:9/x is not reachable: "
    ):
        data.load("cifar10", source="torchvision", cache=tmp_path, **SILENT)


@pytest.fixture
def serve():
    """serve(folder) -> the URL of an HTTP server of that folder, without the network."""
    servers = []

    def start(folder: Path) -> str:
        handler = functools.partial(Quiet, directory=str(folder))
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_torchvision_downloads_cifar(official_cifar, tmp_path, monkeypatch, serve):
    pytest.importorskip("torch")
    url, md5 = f"{serve(official_cifar)}/{cifar10.ARCHIVE}", cifar10.OFFICIAL_MD5
    theirs = source_torchvision.import_datasets().CIFAR10
    meta = hashlib.md5(
        (official_cifar / "cifar-10-batches-py" / "batches.meta").read_bytes()
    ).hexdigest()
    monkeypatch.setattr(theirs, "url", url)
    monkeypatch.setattr(theirs, "tgz_md5", md5[cifar10.ARCHIVE])
    monkeypatch.setattr(theirs, "train_list", [[name, md5[name]] for name in cifar10.TRAIN])
    monkeypatch.setattr(theirs, "test_list", [[name, md5[name]] for name in cifar10.TEST])
    monkeypatch.setattr(theirs, "meta", theirs.meta | {"md5": meta})
    monkeypatch.setitem(
        data.DATASETS, "cifar10", dataclasses.replace(data.DATASETS["cifar10"], probes=(url,))
    )
    arrays = data.load("cifar10", cache=tmp_path / "cache", **SILENT)
    assert arrays.source == "torchvision" and arrays.hashes == data.DATASETS["cifar10"].sha256
    assert socket.getdefaulttimeout() is None  # put back


def test_torchvision_downloads_fashion_mnist(raw_fashion, tmp_path, monkeypatch, serve):
    pytest.importorskip("torch")
    theirs, url = source_torchvision.import_datasets().FashionMNIST, f"{serve(raw_fashion)}/"
    files = [f"{name}.gz" for name in fashion_mnist.FILES.values()]
    md5s = [hashlib.md5((raw_fashion / name).read_bytes()).hexdigest() for name in files]
    monkeypatch.setattr(theirs, "mirrors", [url])
    monkeypatch.setattr(theirs, "resources", list(zip(files, md5s, strict=True)))
    kind = dataclasses.replace(data.DATASETS["fashion_mnist"], probes=(url + files[0],))
    monkeypatch.setitem(data.DATASETS, "fashion_mnist", kind)
    arrays = data.load("fashion_mnist", cache=tmp_path / "cache", **SILENT)
    assert arrays.source == "torchvision" and arrays.hashes == kind.sha256


def test_our_tables_are_torchvisions():
    pytest.importorskip("torch")
    datasets = source_torchvision.import_datasets()
    theirs = dict(datasets.CIFAR10.train_list + datasets.CIFAR10.test_list)
    assert cifar10.OFFICIAL_MD5 == theirs | {datasets.CIFAR10.filename: datasets.CIFAR10.tgz_md5}
    assert cifar10.URL == datasets.CIFAR10.url
    assert fashion_mnist.MIRROR == datasets.FashionMNIST.mirrors[0]
    names = [name for name, _ in datasets.FashionMNIST.resources]
    assert [f"{name}.gz" for name in fashion_mnist.FILES.values()] == names


# the command line


def run(*words: str) -> int:
    return main(["data", *words])


def test_fetch_and_check_from_the_command_line(raw_fashion, tmp_path, capsys):
    cache = ("--cache", str(tmp_path / "a cache"))
    assert run("check", "fashion_mnist", *cache) == 1
    assert (
        run("fetch", "fashion_mnist", "--source", "folder", "--folder", str(raw_fashion), *cache)
        == 0
    )
    assert run("check", "fashion_mnist", *cache) == 0
    out, err = capsys.readouterr()
    assert "fashion_mnist: ready in" in out and "fashion_mnist: every array is right" in out
    assert err.count("\n") == 1 and "fashion_mnist must be fetched first" in err
    labels = tmp_path / "a cache" / "data" / "fashion_mnist" / "train_labels.npy"
    np.save(labels, np.zeros(400, dtype=np.uint8))
    assert run("check", "fashion_mnist", *cache) == 1
    err = capsys.readouterr().err
    assert (
        err.count("\n") == 1 and str(labels) in err and digest(np.zeros(400, dtype=np.uint8)) in err
    )


def test_unknown_data_set_on_the_command_line(capsys):
    assert main(["data", "fetch", "cifar"]) == 2  # bad input, as everywhere
    names = ", ".join(data.DATASETS)
    message = f"robustfl: dataset must be one of {names}; got 'cifar'\n"
    assert capsys.readouterr().err == message
