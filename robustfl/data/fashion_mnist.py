"""FashionMNIST: 70,000 grey images of 28 x 28 pixels.

Xiao, Rasul, Vollgraf, arXiv:1708.07747; MIT, Zalando SE.

How the sha256 below were verified: Debian's package and the official files hold the same deflate
streams, only the gzip header differs (Debian's has no file name and another time). With the
official header put back (name of the file, time 1504176606 for train-*, 1504176627 for t10k-*,
31 August 2017) all four files have the md5 that torchvision.datasets.FashionMNIST publishes;
`official_gzip` does that, a network test repeats it.
"""

from __future__ import annotations

from pathlib import Path

from robustfl.data import source_packages, source_torchvision
from robustfl.data.base import Arrays, DataError, Dataset, digest
from robustfl.data.idx import read_idx

PACKAGE = "dataset-fashion-mnist"  # Debian and Ubuntu
PACKAGE_FOLDER = Path("usr/share/datasets/fashion-mnist")
# torchvision.datasets.FashionMNIST.mirrors[0]
MIRROR = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}

# Of the arrays: the idx files without their headers.
SHA256 = {
    "train_images": "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
    "train_labels": "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
    "test_images": "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
    "test_labels": "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
}


def from_torchvision(folder: Path) -> Arrays:
    """Download with torchvision.datasets.FashionMNIST and read the idx files."""
    source_torchvision.download("FashionMNIST", folder)
    return _read(folder / "FashionMNIST" / "raw", "torchvision")


def from_registry(folder: Path) -> Arrays:
    """Fetch the Debian package and read the idx files."""
    return _read(source_packages.debian_package(PACKAGE, folder) / PACKAGE_FOLDER, "registry")


def from_folder(folder: Path) -> Arrays:
    """Read the idx files, plain or .gz.

    They lie in the folder, in FashionMNIST/raw/ below it, or in an unpacked Debian package. Raises
    DataError naming the file that is missing, wrong or truncated.
    """
    for place in (folder, folder / "FashionMNIST" / "raw", folder / "raw", folder / PACKAGE_FOLDER):
        if any(_find(place, name) for name in FILES.values()):
            return _read(place, "folder")
    raise DataError(
        f"{folder}: folder must hold FashionMNIST/raw/, the idx files {', '.join(FILES.values())}"
        f" (plain or .gz), the unpacked Debian package {PACKAGE} or the .npy files of a robustfl"
        " cache; got none of these; download one there, or choose another source"
    )


def _find(place: Path, name: str) -> Path | None:
    return next((path for path in (place / name, place / f"{name}.gz") if path.is_file()), None)


def _read(place: Path, source: str) -> Arrays:
    arrays = {}
    for key, name in FILES.items():
        path = _find(place, name)
        if path is None:
            raise DataError(
                f"{place / name}: must be there, plain or .gz; got no such file; download it again"
            )
        array = read_idx(path)
        if digest(array) != SHA256[key]:
            raise DataError(
                f"{path}: array must have sha256 {SHA256[key]}; got {digest(array)};"
                " download it again"
            )
        arrays[key] = array[:, None] if key.endswith("images") else array  # (n, 1, 28, 28) or (n,)
    return Arrays.of(arrays, source)


def official_gzip(path: Path, time: int) -> bytes:
    """Debian's .gz with the official gzip header put back.

    That is flags 8 (name given), the time, no extra flags, Unix.
    """
    header = b"\x1f\x8b\x08\x08" + time.to_bytes(4, "little") + b"\x00\x03"
    # Debian's header is the bare 10 bytes; the deflate stream and its checksum follow unchanged
    return header + path.stem.encode() + b"\x00" + path.read_bytes()[10:]


FASHION_MNIST = Dataset(
    name="fashion_mnist",
    title="FashionMNIST",
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    shape=(1, 28, 28),
    mean=(0.286041,),
    std=(0.353024,),
    sha256=SHA256,
    train_size=60_000,
    test_size=10_000,
    probes=(f"{MIRROR}{FILES['train_labels']}.gz",),
    from_torchvision=from_torchvision,
    from_registry=from_registry,
    from_folder=from_folder,
)
