"""`robustfl select`: a weighted subset of points in .npy files."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np

from robustfl.files import check_folder, user_path, write_atomically
from robustfl.selection import validation
from robustfl.selection.api import SELECTORS, select
from robustfl.selection.result import Selection


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
        )
        _write(Path(args.out), picked)
    except (ValueError, MemoryError, OSError) as error:
        print(f"robustfl select: {error}", file=sys.stderr)
        return 2
    print(f"{len(picked)} of {len(points)} points: {args.out}")
    return 0


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
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} must be a readable .npy file: {error}") from error
