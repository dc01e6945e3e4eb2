"""Shared fixtures: the project's root as working directory, a tiny spec, folders of data files.

The files are made of the committed sample.
"""

import dataclasses
import gzip
import hashlib
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from robustfl import data
from robustfl.data import cifar10, fashion_mnist
from robustfl.study.run_spec import RunSpec

ROOT = Path(__file__).parent.parent

# `pytest --hypothesis-profile=long`: for a night; the tests that leave the number open follow
settings.register_profile("long", max_examples=5000)

# Files whose tests start snakemake, servers or whole studies; all others are marked `fast`.
SLOW_FILES = (
    "test_bench",
    "test_campaign",
    "test_claims",
    "test_cli",
    "test_dag",
    "test_data_programs",
    "test_faults",
    "test_figures",
    "test_hosts",
    "test_inference",
    "test_loop",
    "test_numba_cache",
    "test_packed",
    "test_page",
    "test_precision",
    "test_published",
    "test_readings",
    "test_recipes",
    "test_report",
    "test_selection_cuda",
    "test_sampler",
    "test_tables",
    "test_worker",
)


# Files that take a minute or more. They go first, so that none is left to one process at the end.
LONGEST_FILES = ("test_faults", "test_dag", "test_worker", "test_campaign", "test_recipes")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem not in LONGEST_FILES)
    for item in items:
        slow = item.get_closest_marker("slow") or item.path.stem.startswith(SLOW_FILES)
        if not slow:
            item.add_marker(pytest.mark.fast)


@pytest.fixture(autouse=True)
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    torch.set_num_threads(1)


@pytest.fixture
def tiny():
    """Two epochs of ResNet-8 on 120 sample images."""
    return RunSpec(
        use_sample=True,
        train_size=120,
        test_size=60,
        model="resnet8",
        epochs=2,
        batch_size=32,
        holdout=0.1,
    )


# data sets of the sample's images, in the files that others publish


def small(name: str, monkeypatch) -> dict[str, np.ndarray]:
    """Register the sample (400 + 200 images) as if it were the whole set; return its arrays."""
    arrays = data.load(name, source="sample")
    kind = dataclasses.replace(
        data.DATASETS[name], sha256=arrays.hashes, train_size=400, test_size=200
    )
    monkeypatch.setitem(data.DATASETS, name, kind)
    if name == "fashion_mnist":
        monkeypatch.setattr(fashion_mnist, "SHA256", arrays.hashes)
    return arrays.asdict()


def batches(arrays: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The six files' images (b, 3, 32, 32) and labels: 80 images to a training batch."""
    parts = {f"data_batch_{i + 1}": slice(80 * i, 80 * i + 80) for i in range(5)}
    held = {
        name: (arrays["train_images"][part], arrays["train_labels"][part])
        for name, part in parts.items()
    }
    return held | {"test_batch": (arrays["test_images"], arrays["test_labels"])}


@pytest.fixture
def official_cifar(tmp_path, monkeypatch) -> Path:
    """A folder with cifar-10-batches-py/ and cifar-10-python.tar.gz, of the sample's images."""
    folder = tmp_path / "official"
    place = folder / "cifar-10-batches-py"
    place.mkdir(parents=True)
    for name, (images, labels) in batches(small("cifar10", monkeypatch)).items():
        batch = {
            "batch_label": name,
            "labels": labels.tolist(),
            "data": images.reshape(-1, 3072),
            "filenames": [],
        }
        (place / name).write_bytes(pickle.dumps(batch, protocol=2))
        monkeypatch.setitem(
            cifar10.OFFICIAL_MD5, name, hashlib.md5((place / name).read_bytes()).hexdigest()
        )
    (place / "batches.meta").write_bytes(
        pickle.dumps({"label_names": list(data.DATASETS["cifar10"].classes)})
    )
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
        rows = images.reshape(len(images), 3, 1024).transpose(
            0, 2, 1
        )  # (b, 1024, 3): one image a row
        Image.fromarray(np.ascontiguousarray(rows)).save(place / f"{name}.png")
    for split in ("train", "test"):
        (place / f"{split}_lables.json").write_text(json.dumps(arrays[f"{split}_labels"].tolist()))
    for name in cifar10.PACKAGE_SHA256:
        monkeypatch.setitem(
            cifar10.PACKAGE_SHA256, name, hashlib.sha256((place / name).read_bytes()).hexdigest()
        )
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


# another user


@pytest.fixture
def public_folder():
    """A folder that other users can reach, which pytest's own are not; skips where there is none.

    Tests start programs as such a user by setpriv.
    """
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("changing the user takes root and setpriv")
    plain = ["setpriv", "--reuid=2001", "--regid=2001", "--clear-groups", sys.executable]
    if subprocess.run([*plain, "-c", "import numba"], cwd="/", capture_output=True).returncode:
        pytest.skip("other users cannot run this Python")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)
