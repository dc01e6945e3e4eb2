"""Move finished records to the names that the study gives their runs today.

A run's name follows from its spec, and the words of the names have changed once: fields under the
field's terms, and a hyphen between the words. What was trained is untouched: a record keeps its
spec.json, and with it its hash. Run again, the script finds nothing left to do.

    python scripts/rename_runs.py [RESULTS]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from robustfl.files import write_atomically
from robustfl.study import experiments, packed, record
from robustfl.study.record import Record


def names_today(scale: str, seeds: list[int]) -> dict[str, str]:
    """Identity of a run's spec -> its name, for every run of the study at a scale."""
    study = experiments.load(scale, {"seeds": seeds})
    return {spec.identity: name for name, spec in study.specs.items()}


def records_of(folder: Path) -> list[Record]:
    """Every finished record of {results}/{scale}, packed or in a folder."""
    files = sorted((folder / "records").glob("*.json"))
    runs = [path.parent for path in sorted((folder / "runs").glob("*/metrics.json"))]
    return [packed.read_file(file) for file in files] + [record.read(r, r.name) for r in runs]


def move(run: Record, name: str) -> None:
    """Give a record another name, in its file's name and in its metrics."""
    text = run.file.read_text(encoding="utf-8")
    before, after = (f'"name": {json.dumps(n)}' for n in (run.name, name))
    if text.count(before) != 1:
        raise SystemExit(f"{run.file} must hold {before} exactly once")

    # written under the new name before anything of the old one goes
    if run.file.name == "metrics.json":
        folder = run.file.parent.rename(run.file.parent.with_name(name))
        write_atomically(folder / "metrics.json", text.replace(before, after))
    else:
        write_atomically(run.file.with_stem(name), text.replace(before, after))
        run.file.unlink()


def main(results: Path) -> None:
    moved = 0
    for folder in sorted(path.parent for path in results.glob("*/records")):
        if folder.name not in experiments.scales():
            continue
        runs = records_of(folder)
        names = names_today(folder.name, sorted({run.spec.seed for run in runs}) or [0])

        for run in runs:
            name = names.get(run.spec.identity)
            if name is None:
                print(f"left: {run.file}: the study has no such run")
            elif name != run.name:
                move(run, name)
                moved += 1
    print(f"{moved} records moved")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "results"))
