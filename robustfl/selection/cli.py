"""`robustfl select`: a weighted subset of points in .npy files."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from robustfl.files import check_folder, user_path, write_atomically
from robustfl.selection import validation
from robustfl.selection.api import SELECTORS, select
from robustfl.selection.result import Selection

ZIP = b"PK\x03\x04"  # how a zip archive begins

# What the methods have beyond the options of all: the name, its type, a line of help.
OPTIONS = (
    ("engine", str, f"facility_location: one of {', '.join(validation.ENGINES)}"),
    ("algorithm", str, f"facility_location: one of {', '.join(validation.ALGORITHMS)}"),
    ("epsilon", float, "facility_location: of the algorithm stochastic, in (0, 1)"),
    ("memory", float, "facility_location: bytes for the matrix of one class"),
    ("cover-radius", float, "set_cover: radius of the balls, instead of one found for the ratio"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `robustfl select`."""
    parser.add_argument(
        "--points", type=user_path, required=True, metavar="X.npy", help="(n, d) floats"
    )
    parser.add_argument(
        "--labels",
        type=user_path,
        metavar="y.npy",
        help="(n,) integers; without them all points are one class",
    )
    parser.add_argument(
        "--method",
        default="facility_location",
        help=f"one of {', '.join(SELECTORS)} (default: %(default)s)",
    )
    parser.add_argument(
        "--ratio", required=True, type=float, help="share of each class to pick, in (0, 1]"
    )
    parser.add_argument(
        "--radius", type=float, help="weights = points of the class within this distance"
    )
    parser.add_argument(
        "--metric",
        default="euclidean",
        help=f"one of {', '.join(validation.METRICS)} (default: %(default)s)",
    )
    parser.add_argument("--weights", help=f"one of {', '.join(validation.WEIGHTS)}")
    parser.add_argument("--seed", type=int, default=0)
    for name, kind, text in OPTIONS:
        parser.add_argument(f"--{name}", type=kind, help=text)
    parser.add_argument(
        "--out",
        type=user_path,
        required=True,
        metavar="sel.npz",
        help="arrays indices, weights, gains",
    )


def main(args: argparse.Namespace) -> int:
    """Select and write the file whole or not at all.

    Returns 0, or 2 after one line on stderr that says what is wrong.
    """
    try:
        # a place that cannot be written is found out before minutes of selecting
        _check_out(Path(args.out))
        points = _read(args.points)
        labels = None if args.labels is None else _read(args.labels)
        picked = select(
            points,
            labels,
            method=args.method,
            ratio=args.ratio,
            radius=args.radius,
            metric=args.metric,
            seed=args.seed,
            weights=args.weights,
            **_given_options(args),
        )
        _write(Path(args.out), picked)
    except (ValueError, MemoryError, OSError) as error:
        print(f"robustfl select: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(f"{len(picked)} of {len(points)} points: {args.out}")
    return 0


def _given_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of one method that were given; the method refuses those that it does not have."""
    names = [name.replace("-", "_") for name, _, _ in OPTIONS]
    return {name: vars(args)[name] for name in names if vars(args)[name] is not None}


def _check_out(out: Path) -> None:
    real = Path(os.path.realpath(out))
    # a device or a pipe is written as it is; a file, behind a link too, beside what is there
    if out.exists() and not out.is_file() and not out.is_dir() and os.access(out, os.W_OK):
        return
    if not out.name or out.is_dir() or not real.parent.is_dir():
        raise ValueError(f"--out must be a file in a writable folder; got {str(out)!r}")
    check_folder(real.parent, "folder of --out")


def _write(out: Path, picked: Selection) -> None:
    def save(file: BinaryIO) -> None:
        np.savez(file, indices=picked.indices, weights=picked.weights, gains=picked.gains)

    write_atomically(out, save)


def _read(path: str) -> np.ndarray:
    """The array of an .npy file; ValueError for any other file, whatever numpy makes of it."""
    try:
        with open(path, "rb") as file:
            if file.read(len(ZIP)) == ZIP:
                raise ValueError("it is a zip archive, such as .npz and .pt are")
        return np.load(path, allow_pickle=False)
    except MemoryError:
        raise
    except Exception as error:  # a damaged header ends in whatever Python's parser raises
        raise ValueError(f"{path} must be a readable .npy file: {error}") from error
