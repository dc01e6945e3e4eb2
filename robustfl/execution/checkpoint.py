"""Checkpoints that survive kill -9: written whole or not at all, and checked when they are read.

File: one line `robustfl-checkpoint 1 <sha256 of the rest>`, then torch.save of {"spec_hash",
"state"}. The last two are kept, so that a run whose newest one is damaged goes on from the one
before. Loading executes nothing (weights_only).
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import torch

from robustfl.files import write_atomically

MAGIC = b"robustfl-checkpoint 1 "


class CheckpointError(RuntimeError):
    """A checkpoint is damaged or another run's; the message names the file and the reason."""


def pack(spec_hash: str, state: dict) -> bytes:
    """The bytes of a checkpoint: a snapshot that later steps cannot change."""
    buffer = io.BytesIO()
    torch.save({"spec_hash": spec_hash, "state": state}, buffer)
    body = buffer.getvalue()
    return MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def save(path: Path | str, packed: bytes) -> None:
    """Write atomically; what was at `path` becomes `path` + .previous.

    Raises OSError (disk full) with nothing lost.
    """
    write_atomically(path, packed, previous=previous(path))


def load(path: Path | str, spec_hash: str) -> dict:
    """The state saved under this spec hash.

    Raises CheckpointError (damaged, or another run's) and FileNotFoundError.
    """
    # the checksum first: nothing is unpacked from bytes that are not the ones written
    head, _, body = Path(path).read_bytes().partition(b"\n")
    if not head.startswith(MAGIC):
        raise CheckpointError(f"{path} must begin as a checkpoint; got {head[:24]!r}")
    if head[len(MAGIC) :].decode("ascii", "replace") != hashlib.sha256(body).hexdigest():
        raise CheckpointError(
            f"{path} must match its checksum; its {len(body)} bytes do not (damaged or cut short)"
        )

    saved = torch.load(io.BytesIO(body), weights_only=True, map_location="cpu")
    if saved["spec_hash"] != spec_hash:
        raise CheckpointError(f"{path} must belong to spec {spec_hash}; got {saved['spec_hash']}")
    return saved["state"]


def last_good(path: Path | str, spec_hash: str, log: Callable[[str], None] = print) -> dict | None:
    """State of the newest usable checkpoint, None if there is none.

    A bad one is named in the log and set aside as *.rejected.
    """
    for candidate in _kept(path):
        try:
            return load(candidate, spec_hash)
        except FileNotFoundError:
            continue
        except CheckpointError as error:
            # kept for whoever wants to know what damaged it
            aside = candidate.with_name(candidate.name + ".rejected")
            os.replace(candidate, aside)
            log(f"checkpoint refused: {error}; set aside as {aside.name}")
    return None


def remove(path: Path | str) -> None:
    """Delete a finished run's checkpoints."""
    for candidate in _kept(path):
        candidate.unlink(missing_ok=True)


def previous(path: Path | str) -> Path:
    """Where the checkpoint before the newest one is kept: beside the file, not beside a link to it.

    So both are on one disk, and one can become the other.
    """
    real = Path(os.path.realpath(path))
    return real.with_name(real.name + ".previous")


def _kept(path: Path | str) -> tuple[Path, Path]:
    """The newest checkpoint and the one before; a link to them is never moved or removed."""
    return Path(os.path.realpath(path)), previous(path)
