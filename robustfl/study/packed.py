"""A finished run as one text file that git holds: {scale}/records/{name}.json beside its folder.

The file holds what the six files of the folder {scale}/runs/{name}/ hold, and unpacks into the same
bytes: a JSON file as its value, a CSV file as the list of its lines. The hash of the spec comes
first, so that the workflow knows from the head alone which runs are done. A packed record of the
study's spec is the record: it is read, and restored, rather than a folder read or a run trained.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from robustfl.files import write_atomically
from robustfl.study import record
from robustfl.study.record import FILES, Record, RecordError
from robustfl.study.run_spec import RunSpec

HEAD_KEYS = ("spec_hash", "identity", "precision")  # of the spec; see `RunSpec.accepts`
HEAD = re.compile(
    rb'\{\n "spec_hash": "[0-9a-f]{16}",\n "identity": "([0-9a-f]{16})",\n "precision": "(\w+)",\n'
)
ORDER = (  # of the six files in a packed one
    "metrics.json",
    "spec.json",
    "curves.csv",
    "timings.csv",
    "classes.csv",
    "picks.json",
)
ADVICE = "restore it from git, or delete it and rerun"


def place(folder: Path | str) -> Path | None:
    """The packed file of a run's folder; None where the folder does not lie in one named runs."""
    folder = Path(folder)
    if folder.parent.name != "runs":
        return None
    return folder.parent.with_name("records") / f"{folder.name}.json"


def head(path: Path) -> tuple[str, str] | None:
    """(identity, precision) of a packed record's spec, from its head alone; None without a file.

    Raises RecordError for a file that does not begin as a packed record.
    """
    try:
        # one unbuffered read: a plan looks at every head there is
        with open(path, "rb", buffering=0) as file:
            match = HEAD.match(file.read(128))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(f"{path}: packed record must be readable: {error}") from error
    if match is None:
        raise RecordError(
            f"{path}: packed record must begin with its spec_hash; it does not: {ADVICE}"
        )
    return match[1].decode(), match[2].decode()


def find(folder: Path | str, spec: RunSpec) -> Path | None:
    """The packed file of a run's folder where it is of this spec's run, else None.

    Raises RecordError as head does.
    """
    path = place(folder)
    packed_as = None if path is None else head(path)
    if packed_as is None:
        return None

    # a spec that leaves the precision open takes a run in either; see `RunSpec.accepts`
    identity, precision = packed_as
    same = spec.identity == identity and spec.precision in ("auto", precision)
    return path if same else None


def read(folder: Path | str, name: str, spec: RunSpec) -> Record:
    """Read a run of this spec: its packed record where there is one, else its folder.

    Raises RecordError naming the file or folder.
    """
    path = find(folder, spec)
    return record.read(folder, name, spec) if path is None else read_file(path, spec)


def read_file(path: Path, spec: RunSpec | None = None) -> Record:
    """Read a packed record with the checks of record.read (spec None = its own).

    Raises RecordError naming the file.
    """
    return record.parse(unpacked(path), path, path.stem, spec)


def text(texts: dict[str, str]) -> str:
    """The packed form of the six files' texts. Raises ValueError where one is not JSON."""
    contents: dict[str, Any] = {
        name: json.loads(texts[name]) if name.endswith(".json") else texts[name].splitlines()
        for name in ORDER
    }
    return json.dumps(_head_of(contents["spec.json"]) | contents, indent=1) + "\n"


def _head_of(values: dict) -> dict[str, str]:
    """HEAD_KEYS of a spec given as spec.json holds it. Raises SpecError."""
    spec = RunSpec.from_dict(values)
    return {"spec_hash": spec.hash, "identity": spec.identity, "precision": spec.precision}


def unpacked(path: Path) -> dict[str, str]:
    """The texts of the six files a packed record holds. Raises RecordError naming the file."""
    try:
        return _texts(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RecordError(
            f"{path}: packed record must be complete and readable: {error}; {ADVICE}"
        ) from error


def _texts(packed: str | bytes) -> dict[str, str]:
    """The texts of the six files, as record.write writes them. Raises ValueError."""
    contents = json.loads(packed)
    if not isinstance(contents, dict) or list(contents) != [*HEAD_KEYS, *ORDER]:
        raise ValueError(f"it must have the keys {', '.join([*HEAD_KEYS, *ORDER])}")
    texts = {name: _text_of(name, contents[name]) for name in FILES}

    # the head is what a plan trusts without reading on, so it must not contradict the spec
    expected = _head_of(contents["spec.json"])
    if (head := {key: contents[key] for key in HEAD_KEYS}) != expected:
        raise ValueError(f"its head must be that of its spec.json, {expected}; got {head}")
    return texts


def _text_of(name: str, content: Any) -> str:
    """The text of one of the six files. Raises ValueError for a content of another kind."""
    kind = list if name.endswith(".csv") else dict
    if not isinstance(content, kind):
        raise ValueError(f"{name} must be a {kind.__name__}; got a {type(content).__name__}")
    if kind is list:
        return "".join(f"{line}\n" for line in content)

    # pixels by the thousand fill one line
    indent = None if name == "picks.json" else 1
    return json.dumps(content, indent=indent) + "\n"


def pack(folder: Path | str, name: str, spec: RunSpec) -> Path:
    """Pack a finished folder of this spec, read the file back and return its path.

    A packed record of another spec is replaced. Raises ValueError for a folder that does not lie in
    one named runs, RecordError where it is broken or stale, or its files are not byte for byte
    those that the packed record unpacks into.
    """
    path = place(folder)
    if path is None:
        raise ValueError(f"folder must lie in one named runs; got {str(folder)!r}")
    texts = record.read_files(folder, name)
    record.parse(texts, Path(folder) / "metrics.json", name, spec)

    # unpack before writing, so that no file is written that does not hold the folder
    if find(folder, spec) is None:
        packed = text(texts)
        _must_be_same(_texts(packed), texts, f"{folder}: files must be as record.write writes them")
        write_atomically(path, packed)
    _must_be_same(unpacked(path), texts, f"{path} must hold the files of {folder}, or be deleted")
    return path


def _must_be_same(texts: dict[str, str], expected: dict[str, str], rule: str) -> None:
    if differ := [name for name in FILES if texts[name] != expected[name]]:
        raise RecordError(f"{rule}; not the same: {', '.join(differ)}")


def unpack(path: Path, folder: Path | str, spec: RunSpec | None = None) -> None:
    """Write the six files of a packed record, checked as read_file does, into a folder.

    Raises RecordError naming the packed file, OSError where the folder cannot be written.
    """
    texts = unpacked(path)
    record.parse(texts, path, path.stem, spec)
    record.write_files(Path(folder), texts)
