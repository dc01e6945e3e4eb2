"""Which runs `robustfl tensorboard` exports, and the folder of each: what its list will show."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from robustfl.evidence.tables import display_label
from robustfl.study import packed, record, record_list
from robustfl.study.experiments import Group, Study
from robustfl.study.record import Record
from robustfl.study.run_names import seed_of


def of_scale(scale: Path, wanted: Sequence[str]) -> dict[str, Record]:
    """Records under their runs' names: those of {results}/{scale} and those at paths.

    wanted: names, globs of names and paths of records, told by their slash; none = all of the
    scale. A record that shares its name has the hash of its spec behind it. Raises ValueError for
    an entry that has no record or whose run another has given, RecordError.
    """
    paths = [text for text in wanted if "/" in text]
    patterns = [text for text in wanted if "/" not in text]

    # paths alone ask for nothing of the scale
    found = [] if paths and not patterns else _matching(scale, patterns)
    found += [_at(path) for path in paths]

    # a rerun with other settings may lie beside the packed record of its name
    runs: dict[str, Record] = {}
    for run in found:
        if any((run.name, run.spec) == (other.name, other.spec) for other in runs.values()):
            raise ValueError(f"RUN must give each run once; got {run.name} again by {run.file}")
        runs[f"{run.name}-{run.spec.hash}" if run.name in runs else run.name] = run
    return runs


def _matching(scale: Path, patterns: Sequence[str]) -> list[Record]:
    found = [run for _, run in record_list.records(scale, _any_of(patterns))]
    _must_all_match(patterns, [run.name for run in found], f"a run with a record in {scale}")
    return found


def _at(place: str) -> Record:
    """The record of a run's folder, or of a packed file. Raises ValueError, RecordError."""
    if os.path.isfile(place):
        return packed.read_file(Path(place))
    if os.path.isfile(os.path.join(place, "metrics.json")):
        return record.read(place, Path(place).resolve().name)
    raise ValueError(f"RUN must be the path of a run's folder or packed record; got {place!r}")


def of_groups(
    study: Study, scale: Path, groups: Sequence[str], patterns: Sequence[str]
) -> tuple[dict[str, Record], int]:
    """(records under `group/row, seed N`, how many runs of the groups have none yet).

    groups: keys of the study's; patterns: names and globs of names, none = all runs of the groups.
    Raises ValueError for a group that is not the study's, for groups without a record and for a
    pattern that matches none, RecordError for a record that is broken or stale.
    """
    for key in groups:
        if key not in study.groups:
            raise ValueError(f"--group must be one of {', '.join(study.groups)}; got {key!r}")
    places = {folder: name for key in groups for folder, name in _places(study.groups[key]).items()}
    wanted = _any_of(patterns)
    chosen = {folder: name for folder, name in places.items() if wanted(name)}
    _must_all_match(patterns, list(chosen.values()), f"a run of {', '.join(groups)}")

    # a study that is still being trained shows what it has
    runs = {
        folder: packed.read(scale / "runs" / name, name, study.specs[name])
        for folder, name in chosen.items()
        if _is_finished(scale / "runs" / name, study, name)
    }
    if not runs:
        raise ValueError(f"--group must have a record in {scale}; got {', '.join(groups)}")
    return runs, len(chosen) - len(runs)


def _places(group: Group) -> dict[str, str]:
    """Folder -> run of a group: its rows' labels and their seeds."""
    return {
        f"{group.key}/{display_label(row).replace('/', '_')}, seed {seed_of(name)}": name
        for row in group.rows
        for name in row.names
    }


def _is_finished(folder: Path, study: Study, name: str) -> bool:
    # metrics.json is written last
    is_packed = packed.find(folder, study.specs[name]) is not None
    return is_packed or (folder / "metrics.json").exists()


def _any_of(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a name matches one of the patterns; any name does where there are none."""
    return lambda name: not patterns or any(fnmatchcase(name, p) for p in patterns)


def _must_all_match(patterns: Sequence[str], names: list[str], rule: str) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"RUN must name or match {rule}; got {pattern!r}")
    if not names:
        raise ValueError(f"RUN must name or match {rule}; there is none")
