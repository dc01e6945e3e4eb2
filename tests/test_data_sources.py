"""Where data comes from: file formats, the programs that fetch, torchvision's download, the command line.

No network. The formats are tried on small files made here from the committed sample, with the tables of hashes replaced
to match.
"""

import argparse
import dataclasses
import functools
import gzip
import hashlib
import http.server
import json
import pickle
import shutil
import socket
import struct
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from robustfl import data
from robustfl.cli import main
from robustfl.data import cifar10, cli, fashion_mnist, official, registry
from robustfl.data.base import digest

SILENT = {"log": lambda line: None}


def small(name: str, monkeypatch) -> dict[str, np.ndarray]:
    """Register the sample (400 + 200 images) as if it were the whole data set, and return its arrays."""
    arrays = data.load(name, source="sample")
    kind = dataclasses.replace(data.DATASETS[name], sha256=arrays.hashes, train_size=400, test_size=200)
    monkeypatch.setitem(data.DATASETS, name, kind)
    if name == "fashion_mnist":
        monkeypatch.setattr(fashion_mnist, "SHA256", arrays.hashes)
    return arrays.asdict()


def batches(arrays: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The six files' images (b, 3, 32, 32) and labels: 80 images to a training batch."""
    parts = {f"data_batch_{i + 1}": slice(80 * i, 80 * i + 80) for i in range(5)}
    held = {name: (arrays["train_images"][part], arrays["train_labels"][part]) for name, part in parts.items()}
    return held | {"test_batch": (arrays["test_images"], arrays["test_labels"])}


@pytest.fixture
def official_cifar(tmp_path, monkeypatch) -> Path:
    """A folder with cifar-10-batches-py/ and cifar-10-python.tar.gz like the official ones, of the sample's images."""
    folder = tmp_path / "official"
    place = folder / "cifar-10-batches-py"
    place.mkdir(parents=True)
    for name, (images, labels) in batches(small("cifar10", monkeypatch)).items():
        batch = {"batch_label": name, "labels": labels.tolist(), "data": images.reshape(-1, 3072), "filenames": []}
        (place / name).write_bytes(pickle.dumps(batch, protocol=2))
        monkeypatch.setitem(cifar10.OFFICIAL_MD5, name, hashlib.md5((place / name).read_bytes()).hexdigest())
    (place / "batches.meta").write_bytes(pickle.dumps({"label_names": list(data.DATASETS["cifar10"].classes)}))
    with tarfile.open(folder / cifar10.ARCHIVE, "w:gz") as tar:
        tar.add(place, arcname="cifar-10-batches-py")
    archive = hashlib.md5((folder / cifar10.ARCHIVE).read_bytes()).hexdigest()
    monkeypatch.setitem(cifar10.OFFICIAL_MD5, cifar10.ARCHIVE, archive)
    return folder


@pytest.fixture
def package_cifar(tmp_path, monkeypatch) -> Path:
    """The npm package's files, of the sample's images."""
    from PIL import Image

    arrays = small("cifar10", monkeypatch)
    place = tmp_path / "npm" / "package"
    place.mkdir(parents=True)
    for name, (images, _) in batches(arrays).items():
        rows = images.reshape(len(images), 3, 1024).transpose(0, 2, 1)  # (b, 1024, 3): one image a row
        Image.fromarray(np.ascontiguousarray(rows)).save(place / f"{name}.png")
    for split in ("train", "test"):
        (place / f"{split}_lables.json").write_text(json.dumps(arrays[f"{split}_labels"].tolist()))
    for name in cifar10.PACKAGE_SHA256:
        monkeypatch.setitem(cifar10.PACKAGE_SHA256, name, hashlib.sha256((place / name).read_bytes()).hexdigest())
    return place


@pytest.fixture
def raw_fashion(tmp_path, monkeypatch) -> Path:
    """FashionMNIST/raw/ with the four .gz files, of the sample's images."""
    arrays = small("fashion_mnist", monkeypatch)
    place = tmp_path / "official" / "FashionMNIST" / "raw"
    place.mkdir(parents=True)
    for key, name in fashion_mnist.FILES.items():
        array = arrays[key][:, 0] if key.endswith("images") else arrays[key]
        header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        (place / f"{name}.gz").write_bytes(gzip.compress(header + array.tobytes(), mtime=0))
    return place


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
    with pytest.raises(data.DataError, match=r"data_batch_3: must have md5 .*; got .* bytes; wrong or truncated: d"):
        load("cifar10", official_cifar, tmp_path / "cache")
    path.unlink()
    with pytest.raises(data.DataError, match=r"data_batch_3: must be there; got no such file; download"):
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
    with pytest.raises(data.DataError, match=r"cifar-10-python.tar.gz: must have md5 .* 1,000 bytes; .*download"):
        load("cifar10", official_cifar, tmp_path / "cache")


@pytest.mark.parametrize("parent", [False, True])
def test_unpacked_npm_package(package_cifar, tmp_path, parent):
    folder = package_cifar.parent if parent else package_cifar
    assert load("cifar10", folder, tmp_path / "cache").hashes == data.DATASETS["cifar10"].sha256


def test_wrong_png_is_named(package_cifar, tmp_path):
    (package_cifar / "test_batch.png").write_bytes((package_cifar / "data_batch_1.png").read_bytes())
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
    assert load("fashion_mnist", folder, tmp_path / "cache").hashes == data.DATASETS["fashion_mnist"].sha256


@pytest.mark.parametrize("compressed", [True, False])
def test_truncated_idx_is_named(raw_fashion, tmp_path, compressed):
    path = raw_fashion / "t10k-images-idx3-ubyte.gz"
    content = path.read_bytes()
    if not compressed:
        path.unlink()
        path, content = path.with_suffix(""), gzip.decompress(content)
    path.write_bytes(content[:-500])
    rule = "must be a whole gzip file" if compressed else r"must hold 156,800 values, .*; got 156,300"
    with pytest.raises(data.DataError, match=f"{path.name}: {rule}.*wrong or truncated: download it again"):
        load("fashion_mnist", raw_fashion, tmp_path / "cache")


def test_wrong_idx_is_named(raw_fashion, tmp_path):
    path = raw_fashion / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] = (content[-1] + 1) % 10
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(data.DataError, match="t10k-labels-idx1-ubyte.gz: array must have sha256 .*; got .*download it"):
        load("fashion_mnist", raw_fashion, tmp_path / "cache")
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(data.DataError, match="t10k-labels-idx1-ubyte.gz: must be a whole gzip file"):
        load("fashion_mnist", raw_fashion, tmp_path / "cache")
    path.unlink()
    with pytest.raises(data.DataError, match="t10k-labels-idx1-ubyte: must be there, plain or .gz"):
        load("fashion_mnist", raw_fashion, tmp_path / "cache")


@pytest.mark.parametrize("name", data.DATASETS)
def test_a_folder_without_data_says_what_it_may_hold(name, tmp_path):
    with pytest.raises(data.DataError, match=f"{tmp_path}: folder must hold .*; got none of these; download"):
        load(name, tmp_path, tmp_path / "cache")


# programs


def test_call_reports_what_the_program_said(tmp_path):
    program = "import sys; print('W: sand\\nE:  no  such package\\nE: b\\nE: c', file=sys.stderr); sys.exit(100)"
    with pytest.raises(data.DataError, match=r"failed: E: no such package; E: b$"):
        registry.call([sys.executable, "-c", program], tmp_path, 20)
    with pytest.raises(data.DataError, match=r"failed: exit status 3$"):
        registry.call([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, 20)


def test_call_ends_a_program_that_hangs_with_its_children(tmp_path):
    sleep = "import time; time.sleep(60)"
    program = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleep!r}]); {sleep}"
    start = time.monotonic()
    with pytest.raises(data.DataError, match="had not finished after 0.5 s"):
        registry.call([sys.executable, "-c", program], tmp_path, 0.5)
    assert time.monotonic() - start < 10  # not the 60 s the pipe's last holder would keep it open


def test_call_gives_no_stdin(tmp_path):
    registry.call([sys.executable, "-c", "import sys; sys.exit(len(sys.stdin.read()))"], tmp_path, 20)


def test_a_missing_program_is_named_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(data.DataError, match=r"apt-get is not installed \(.+ use source torchvision or folder\)"):
        registry.debian_package("p", tmp_path)
    monkeypatch.setattr(registry, "call", refuse)
    with pytest.raises(data.DataError, match=r"npm is not installed \(install Node.js\), and pip did not bring it: no"):
        registry.npm_package("p@1", (), tmp_path)


def refuse(command, folder, seconds):
    assert command[1:4] == ["-m", "pip", "install"]
    raise data.DataError("no")


def test_apt_asks_again_with_lists_of_its_own(tmp_path, monkeypatch):
    calls = []

    def call(command, folder, seconds):
        calls.append(command)
        if "download" in command:
            if not any(word.startswith("Dir::State::Lists=") for word in command):
                raise data.DataError("apt-get failed: E: Unable to locate package p")
            (folder / "p.deb").touch()
        return ""

    monkeypatch.setattr(registry, "call", call)
    monkeypatch.setattr(registry, "find_tool", lambda name, advice: name)
    assert registry.debian_package("p", tmp_path) == tmp_path / "unpacked"
    assert [next(word for word in c[1:] if word in ("download", "update", "-x")) for c in calls] == [
        "download", "update", "download", "-x",
    ]  # fmt: skip
    assert (tmp_path / "apt" / "lists" / "partial").is_dir()


# torchvision


def test_a_silent_host_costs_little():
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never answers
        start, url = time.monotonic(), f"http://127.0.0.1:{server.getsockname()[1]}/"
        reason = official.unreachable(url, seconds=0.3)
        assert reason and time.monotonic() - start < 3
    assert "refused" in official.unreachable(url)


def test_an_unreachable_host_is_not_downloaded_from(tmp_path, monkeypatch):
    def never(folder):
        raise AssertionError("must not be asked")

    kind = dataclasses.replace(data.DATASETS["cifar10"], probes=("http://127.0.0.1:9/x",), from_torchvision=never)
    monkeypatch.setitem(data.DATASETS, "cifar10", kind)
    with pytest.raises(data.DataError, match="torchvision: http://127.0.0.1:9/x is not reachable: "):
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
    theirs = official.import_datasets().CIFAR10
    meta = hashlib.md5((official_cifar / "cifar-10-batches-py" / "batches.meta").read_bytes()).hexdigest()
    monkeypatch.setattr(theirs, "url", url)
    monkeypatch.setattr(theirs, "tgz_md5", md5[cifar10.ARCHIVE])
    monkeypatch.setattr(theirs, "train_list", [[name, md5[name]] for name in cifar10.TRAIN])
    monkeypatch.setattr(theirs, "test_list", [[name, md5[name]] for name in cifar10.TEST])
    monkeypatch.setattr(theirs, "meta", theirs.meta | {"md5": meta})
    monkeypatch.setitem(data.DATASETS, "cifar10", dataclasses.replace(data.DATASETS["cifar10"], probes=(url,)))
    arrays = data.load("cifar10", cache=tmp_path / "cache", **SILENT)
    assert arrays.source == "torchvision" and arrays.hashes == data.DATASETS["cifar10"].sha256
    assert socket.getdefaulttimeout() is None  # put back


def test_torchvision_downloads_fashion_mnist(raw_fashion, tmp_path, monkeypatch, serve):
    pytest.importorskip("torch")
    theirs, url = official.import_datasets().FashionMNIST, f"{serve(raw_fashion)}/"
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
    datasets = official.import_datasets()
    theirs = dict(datasets.CIFAR10.train_list + datasets.CIFAR10.test_list)
    assert cifar10.OFFICIAL_MD5 == theirs | {datasets.CIFAR10.filename: datasets.CIFAR10.tgz_md5}
    assert cifar10.URL == datasets.CIFAR10.url
    assert fashion_mnist.MIRROR == datasets.FashionMNIST.mirrors[0]
    names = [name for name, _ in datasets.FashionMNIST.resources]
    assert [f"{name}.gz" for name in fashion_mnist.FILES.values()] == names


# the command line


def run(*words: str) -> int:
    parser = argparse.ArgumentParser(prog="robustfl data")
    cli.add_arguments(parser)
    return cli.main(parser.parse_args(words))


def test_fetch_and_check_from_the_command_line(raw_fashion, tmp_path, capsys):
    cache = ("--cache", str(tmp_path / "a cache"))
    assert run("check", "fashion_mnist", *cache) == 1
    assert run("fetch", "fashion_mnist", "--source", "folder", "--folder", str(raw_fashion), *cache) == 0
    assert run("check", "fashion_mnist", *cache) == 0
    out, err = capsys.readouterr()
    assert "fashion_mnist: ready in" in out and "fashion_mnist: every array is right" in out
    assert err.count("\n") == 1 and "fashion_mnist must be fetched first" in err
    labels = tmp_path / "a cache" / "data" / "fashion_mnist" / "train_labels.npy"
    np.save(labels, np.zeros(400, dtype=np.uint8))
    assert run("check", "fashion_mnist", *cache) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and str(labels) in err and digest(np.zeros(400, dtype=np.uint8)) in err


def test_unknown_data_set_on_the_command_line(capsys):
    assert main(["data", "fetch", "cifar"]) == 2  # bad input, as everywhere
    assert capsys.readouterr().err == "robustfl: dataset must be one of cifar10, fashion_mnist; got 'cifar'\n"
