"""The committed sample and the facts of each data set.

They are compared with the full sets where these are in the cache.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robustfl import data
from robustfl.data import data_cache, sample
from robustfl.data.base import digest

REPO = Path(__file__).parents[2]
SILENT = {"log": lambda line: None}


def the_full(name: str) -> data.Arrays:
    """The whole set from the cache; `.ci/run` fetches it where it can."""
    if not data_cache.place(name, REPO / "cache").exists():
        pytest.skip(f"{REPO / 'cache'} lacks the full {name}: see `robustfl data fetch {name}`")
    return data.load(name, cache=REPO / "cache", **SILENT)


@pytest.mark.parametrize("name", data.DATASETS)
def test_sample_is_stratified_real_data_with_its_hashes(name):
    kind = data.DATASETS[name]
    arrays = data.load(name, source="sample", cache="/nonexistent", **SILENT)
    assert arrays.source == "sample"
    assert arrays.train_images.shape == (400, *kind.shape) and arrays.test_images.shape == (
        200,
        *kind.shape,
    )
    for array in arrays.asdict().values():
        assert array.dtype == np.uint8 and array.flags.c_contiguous
    assert np.bincount(arrays.train_labels).tolist() == [40] * len(kind.classes)
    assert np.bincount(arrays.test_labels).tolist() == [20] * len(kind.classes)
    assert arrays.hashes == {key: digest(array) for key, array in arrays.asdict().items()}
    pixels = (
        arrays.train_images.transpose(1, 0, 2, 3).reshape(kind.shape[0], -1) / 255
    )  # (C, pixels)
    assert np.allclose(pixels.mean(1), kind.mean, atol=0.03) and np.allclose(
        pixels.std(1), kind.std, atol=0.03
    )


def test_samples_take_less_than_two_megabytes():
    assert sum(path.stat().st_size for path in sample.FOLDER.iterdir()) < 2_000_000


@pytest.mark.parametrize("name", data.DATASETS)
def test_sample_images_are_in_the_full_set(name):
    full, drawn = the_full(name), data.load(name, source="sample")
    with np.load(sample.FOLDER / f"{name}.npz") as held:
        for split in ("train", "test"):
            index = held[f"{split}_index"]
            assert len(np.unique(index)) == len(index)
            assert np.array_equal(
                getattr(full, f"{split}_images")[index], getattr(drawn, f"{split}_images")
            )
            assert np.array_equal(
                getattr(full, f"{split}_labels")[index], getattr(drawn, f"{split}_labels")
            )


@pytest.mark.parametrize("name", data.DATASETS)
def test_mean_and_std_are_those_of_the_training_pixels(name):
    kind = data.DATASETS[name]
    images = the_full(name).train_images
    for channel, (mean, std) in enumerate(zip(kind.mean, kind.std, strict=True)):
        count = np.bincount(
            images[:, channel].reshape(-1), minlength=256
        )  # exact, and no float copy of the set
        value = np.arange(256) / 255
        exact = (count @ value) / count.sum()
        assert mean == pytest.approx(exact, abs=1e-6)
        assert std == pytest.approx(np.sqrt(count @ (value - exact) ** 2 / count.sum()), abs=1e-6)


def test_damaged_sample_is_named(tmp_path):
    for path in sample.FOLDER.iterdir():
        shutil.copy(path, tmp_path)
    hashes = json.loads((tmp_path / "sha256.json").read_text())
    hashes["cifar10"]["test_labels"] = "0" * 64
    (tmp_path / "sha256.json").write_text(json.dumps(hashes))
    with pytest.raises(
        data.DataError, match=r"cifar10\.npz: test_labels must have sha256 0000.*restore it"
    ):
        sample.load("cifar10", tmp_path)
    (tmp_path / "fashion_mnist.npz").write_bytes(
        (tmp_path / "fashion_mnist.npz").read_bytes()[:5000]
    )
    with pytest.raises(data.DataError, match=r"fashion_mnist\.npz: must be whole.*restore it"):
        sample.load("fashion_mnist", tmp_path)


def test_data_needs_neither_torch_nor_pillow():
    program = (
        "import sys, robustfl.data as d, robustfl.data.cli; d.load('cifar10', source='sample'); "
    )
    program += "print(sorted({'torch', 'torchvision', 'PIL'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
