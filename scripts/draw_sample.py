"""Draw the committed sample: 400 training and 200 test images per data set, each class alike.

    python scripts/draw_sample.py [NAME ...] [--cache cache] [--out robustfl/data/sample]

Without a NAME, all of them. Which images is a pure function of the data set's name (robustfl.rng,
seed 0, purpose "sample/<set>/<split>"), so a second run writes the same arrays. Needs the full sets
in the cache; fetches them otherwise.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from pathlib import Path

import numpy as np

from robustfl import data, rng
from robustfl.data.base import digest

PER_CLASS = {"train": 40, "test": 20}


def draw(labels: np.ndarray, per_class: int, generator: np.random.Generator) -> np.ndarray:
    """labels (n,) -> increasing positions, `per_class` of each class.

    They are those with the smallest of n uniform draws.
    """
    value = generator.random(len(labels))
    order = np.argsort(value, kind="stable")
    return np.sort(
        np.concatenate([order[labels[order] == c][:per_class] for c in np.unique(labels)])
    )


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An .npz with fixed timestamps: the same arrays and zlib give the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="a data set")
    parser.add_argument("--cache", default="cache")
    parser.add_argument("--out", type=Path, default=Path(data.__file__).parent / "sample")
    args = parser.parse_args()
    # the samples of the other sets stay as they are, and so do their hashes
    listed = args.out / "sha256.json"
    hashes = json.loads(listed.read_text(encoding="utf-8")) if listed.exists() else {}
    for name in args.names or data.DATASETS:
        full = data.load(name, cache=args.cache).asdict()
        arrays = {}
        for split, per_class in PER_CLASS.items():
            index = draw(
                full[f"{split}_labels"], per_class, rng.stream(0, f"sample/{name}/{split}")
            )
            arrays |= {
                f"{split}_{part}": full[f"{split}_{part}"][index] for part in ("images", "labels")
            }
            arrays[f"{split}_index"] = index.astype(np.int32)  # position in the full split
        write(args.out / f"{name}.npz", arrays)
        hashes[name] = {key: digest(array) for key, array in arrays.items()}
        size = (args.out / f"{name}.npz").stat().st_size
        print(
            f"{name}: {len(arrays['train_labels'])} + {len(arrays['test_labels'])} images, "
            f"{size:,} bytes"
        )
    listed.write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
