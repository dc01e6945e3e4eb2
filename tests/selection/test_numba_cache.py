"""Compiled code comes from a folder that nobody else can have written, or is compiled anew."""

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SELECT = """
import numpy as np, robustfl
from robustfl.selection.greedy.numba_engine import _fill
picked = robustfl.select(np.random.default_rng(0).normal(size=(60, 5)), ratio=0.2)
print(picked.indices.tolist(), sum(_fill.stats.cache_hits.values()))
"""
ANOTHER = 2001  # uids that no account has
VICTIM = 54321


class Mark:
    """Bytes that run a program when they are unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"id -u > {self.path}",)


def run(environment=None, uid=None):
    """(what was printed, what was logged) of a selection in a process of its own."""
    command = [sys.executable, "-c", SELECT]
    if uid is not None:
        command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *command]
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    kept |= {"PYTHONDONTWRITEBYTECODE": "1"} | (environment or {})
    done = subprocess.run(command, cwd="/", env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    picks, hits = done.stdout.rsplit(maxsplit=1)
    return picks, int(hits), done.stderr


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache folder as one selection leaves it."""
    place = tmp_path_factory.mktemp("numba")
    picks, hits, _ = run({"NUMBA_CACHE_DIR": str(place)})
    assert hits == 0
    return place, picks


def own(place: Path, uid: int | None = None) -> Path:
    return place / f"robustfl-numba-{os.geteuid() if uid is None else uid}"


def test_the_second_process_takes_code_from_a_private_folder(filled):
    place, picks = filled
    assert own(place).stat().st_mode & 0o777 == 0o700
    assert {path.suffix for path in own(place).iterdir()} == {".nbc"}
    assert run({"NUMBA_CACHE_DIR": str(place)}) == (picks, 1, "")


def damaged(whole: bytes, kind: int) -> bytes:
    """Cut to nothing, cut by half, one bit flipped, or somebody else's file."""
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 0x10]) + whole[middle + 1 :]
    return (b"", whole[:middle], flipped, b"hello\n")[kind % 4]


def test_a_damaged_file_is_a_miss_and_written_anew(filled):
    place, picks = filled
    files = sorted(own(place).iterdir())
    assert len(files) >= 4
    for kind, path in enumerate(files):
        path.write_bytes(damaged(path.read_bytes(), kind))

    again, hits, said = run({"NUMBA_CACHE_DIR": str(place)})
    assert (again, hits) == (picks, 0)
    lines = said.splitlines()
    assert len(lines) == len(files), said
    assert all("compiled code is made anew:" in line and ".nbc" in line for line in lines)
    assert run({"NUMBA_CACHE_DIR": str(place)}) == (picks, 1, "")


def test_code_of_other_sources_is_a_miss_without_a_word(filled):
    from robustfl.selection import numba_cache

    place, _ = filled
    path = next(path for path in own(place).iterdir() if path.name.startswith("_fill"))
    cache = numba_cache.CodeCache(run, own(place))
    cache._path = lambda *key: path  # a file of numba_engine, asked for by this file's function

    class Context:
        refresh = codegen = staticmethod(lambda: None)

    assert cache.load_overload(None, Context) is None and path.exists()


@pytest.fixture
def shared(public_folder):
    """A folder as /tmp is: everybody writes there, and renames what is his own."""
    (public_folder / "tmp").mkdir()
    (public_folder / "tmp").chmod(0o1777)
    return public_folder / "tmp"


@pytest.mark.parametrize("how", ["a folder", "a link", "open to all"])
def test_code_that_another_user_laid_out_is_not_run(shared, filled, how):
    place, picks = filled
    folder = own(shared, VICTIM)
    real = shared / "elsewhere" if how == "a link" else folder
    real.mkdir()
    if how == "a link":
        folder.symlink_to(real)

    # files under the right names, whose bytes run a program; a checksum is no proof of an author
    marker = shared / "ran_as"
    for path in own(place).iterdir():
        body = path.read_bytes()[32:64] + pickle.dumps(Mark(marker))
        (real / path.name).write_bytes(hashlib.sha256(body).digest() + body)
    for path in (folder, *real.iterdir(), real):
        os.chown(path, ANOTHER, ANOTHER, follow_symlinks=False)
    if how == "open to all":
        os.chown(folder, VICTIM, VICTIM)
        folder.chmod(0o777)

    again, hits, said = run({"TMPDIR": str(shared), "HOME": "/"}, VICTIM)
    assert (again, hits) == (picks, 0)
    assert not marker.exists()
    assert "compiled code is not kept here" in said and str(folder) in said


def test_an_empty_folder_of_another_user_denies_nothing(shared):
    own(shared, VICTIM).mkdir()
    os.chown(own(shared, VICTIM), ANOTHER, ANOTHER)
    _, hits, said = run({"TMPDIR": str(shared), "HOME": "/"}, VICTIM)
    assert hits == 0 and "must be this user's" in said
    assert list(own(shared, VICTIM).iterdir()) == []


def test_a_user_without_account_and_home_has_a_cache_too(shared):
    _, hits, said = run({"TMPDIR": str(shared)}, VICTIM)
    assert (hits, said) == (0, "")
    assert own(shared, VICTIM).stat().st_mode & 0o777 == 0o700


def test_a_place_that_cannot_have_a_folder_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    _, hits, said = run({"NUMBA_CACHE_DIR": str(tmp_path / "file")})
    assert (hits, said) == (0, "")
