"""`robustfl records`: finished runs packed into files for git, unpacked again, and listed."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from robustfl.study import experiments, packed, record
from robustfl.study.record import Record
from robustfl.study.run_names import without_seed

EPILOG = """examples:
  robustfl records pack --scale laptop --remove    every finished run into a file, no folder left
  robustfl records unpack --scale laptop           every packed run into a folder again
  robustfl records list                            what has been run, where and when"""
COLUMNS = (
    "scale",
    "run",
    "seeds",
    "dates",
    "processor",
    "precision",
    "commit",
    "core-hours",
    "best top-1 %",
    "last top-1 %",
)
NUMBERS = frozenset(COLUMNS[-3:])


def add_arguments(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Add the subcommands to the parser of `robustfl records`; returns their parsers."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(dest="action", metavar="pack|unpack|list", required=True)

    pack = actions.add_parser("pack", help="pack the study's finished runs into {scale}/records")
    pack.add_argument("--scale", required=True, metavar="SCALE", help="size of the study")
    pack.add_argument("--remove", action="store_true", help="remove a folder once it is packed")

    unpack = actions.add_parser("unpack", help="write packed runs into {scale}/runs again")
    unpack.add_argument("--scale", required=True, help="a folder of the results")
    unpack.add_argument("names", nargs="*", metavar="NAME", help="runs (default: all)")

    show = actions.add_parser("list", help="print a line for each setting that has records")
    show.add_argument("--scale", help="only this folder of the results")
    show.add_argument("--markdown", action="store_true", help="as a table of a Markdown page")
    return [pack, unpack, show]


def main(args: argparse.Namespace, config: dict) -> int:
    """Run the parsed command on {results}. Returns 0; raises RecordError, StudyError, OSError."""
    results = Path(config["results"])
    if args.action == "pack":
        pack(experiments.load(args.scale, config), results / args.scale, args.remove)
    elif args.action == "unpack":
        unpack(_scale(results, args.scale), args.names)
    else:
        scales = [_scale(results, args.scale)] if args.scale else sorted(results.glob("*/"))
        rows = gather(entry for scale in scales for entry in records(scale))
        print((markdown if args.markdown else plain)(rows))
    return 0


def _scale(results: Path, name: str) -> Path:
    """The folder of a scale. Raises ValueError where the results have none of that name."""
    folders = sorted(path.name for path in results.glob("*/"))
    if name not in folders:
        raise ValueError(
            f"--scale must be a folder of {results} ({', '.join(folders)}); got {name!r}"
        )
    return results / name


def pack(study: experiments.Study, folder: Path, remove: bool = False) -> None:
    """Pack every finished folder of the study; with `remove`, remove each that is packed.

    folder: {results}/{scale}. Raises RecordError at the first broken or stale record; those before
    it are packed, and those after it are left for the next call.
    """
    # metrics.json is written last, so a folder that has it is complete
    finished = [name for name in study.specs if (folder / "runs" / name / "metrics.json").exists()]
    for name in finished:
        packed.pack(folder / "runs" / name, name, study.spec(name))
        # only now: `packed.pack` has read the file back and found it the same
        if remove:
            shutil.rmtree(folder / "runs" / name)
    print(
        f"{len(finished)} of {len(study.specs)} runs packed into {folder / 'records'}"
        + (", their folders removed" if remove else "")
    )


def unpack(folder: Path, names: list[str]) -> None:
    """Write the named packed runs (none named: all) of {results}/{scale} into folders.

    A folder that has a metrics.json is left as it is. Raises RecordError, ValueError for a name
    that has no packed record.
    """
    # run name -> its packed record
    files = {path.stem: path for path in sorted((folder / "records").glob("*.json"))}
    for name in names:
        if name not in files:
            raise ValueError(f"run must have a packed record in {folder / 'records'}; got {name!r}")

    # a folder that is there may be newer than its packed record
    written = 0
    for name in names or files:
        if not (folder / "runs" / name / "metrics.json").exists():
            packed.unpack(files[name], folder / "runs" / name)
            written += 1
    there = len(names or files) - written
    print(f"{written} runs unpacked into {folder / 'runs'}; {there} were there")


def records(
    folder: Path, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[tuple[str, Record]]:
    """(scale, record) of every run in {results}/{scale}: the packed, then folders of other specs.

    wanted: of a run's name, says whether to read it. Each is read by its own spec. Raises
    RecordError.
    """
    hashes = set()
    for path in sorted((folder / "records").glob("*.json")):
        if not wanted(path.stem):
            continue
        run = packed.read_file(path)
        hashes.add((run.name, run.spec.hash))
        yield folder.name, run
    for path in sorted((folder / "runs").glob("*/metrics.json")):
        if not wanted(path.parent.name):
            continue
        run = record.read(path.parent, path.parent.name)
        # a folder of a packed run is the same run, and counts once
        if (run.name, run.spec.hash) not in hashes:
            yield folder.name, run


@dataclass(frozen=True)
class Line:
    """One line of the list: runs of a scale that differ in nothing but the seed."""

    cells: tuple[str, ...]  # as COLUMNS
    runs: int
    hours: float


def gather(runs: Iterable[tuple[str, Record]]) -> list[Line]:
    """One line per scale, run name and spec, both without the seed; means over seeds."""
    rows: dict[tuple, list[Record]] = {}
    for scale, run in runs:
        name = without_seed(run.name)
        rows.setdefault((scale, name, replace(run.spec, seed=0)), []).append(run)
    return [_line(scale, name, seeds) for (scale, name, _), seeds in rows.items()]


def _line(scale: str, name: str, seeds: list[Record]) -> Line:
    provenance = [run.metrics["provenance"] for run in seeds]
    begin = min(p["begin"] for p in provenance)[:10]
    end = max(p["end"] for p in provenance)[:10]
    # core-hours count every thread that a run was given, busy or not
    seconds = (sum(run.metrics["seconds"].values()) for run in seeds)
    hours = sum(s * p["threads"] for s, p in zip(seconds, provenance)) / 3600

    def mean(key: str) -> str:
        return f"{sum(run.metrics[key] for run in seeds) / len(seeds):.2f}"

    cells = (
        scale,
        name,
        ", ".join(str(seed) for seed in sorted(run.spec.seed for run in seeds)),
        begin if begin == end else f"{begin} to {end}",
        _distinct(p["device_name"] for p in provenance),
        _distinct(run.precision for run in seeds),
        _distinct(short(p["commit"]) for p in provenance),
        f"{hours:.2f}",
        mean("best_top1"),
        mean("last_top1"),
    )
    return Line(cells, len(seeds), hours)


def _distinct(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def short(commit: str) -> str:
    """The first 7 digits of a commit, with `+changes` where it has that."""
    digits, plus, changes = commit.partition("+")
    return digits[:7] + plus + changes


def total(lines: list[Line]) -> str:
    """A sentence on all lines."""
    runs = sum(line.runs for line in lines)
    hours = sum(line.hours for line in lines)
    return f"{runs} runs in {len(lines)} lines, {hours:.2f} core-hours."


def plain(lines: list[Line]) -> str:
    """The lines in columns, then their total."""
    table = [COLUMNS, *(line.cells for line in lines)]
    widths = [max(map(len, column)) for column in zip(*table)]
    pads = [str.rjust if name in NUMBERS else str.ljust for name in COLUMNS]
    rows = ["  ".join(pad(c, w) for pad, c, w in zip(pads, row, widths)).rstrip() for row in table]
    return "\n".join([*rows, total(lines)])


def markdown(lines: list[Line]) -> str:
    """The same as a Markdown table, then the total as a paragraph."""
    rule = "|" + "".join("---:|" if name in NUMBERS else "---|" for name in COLUMNS)
    rows = [f"| {' | '.join(line.cells)} |" for line in lines]
    return "\n".join([f"| {' | '.join(COLUMNS)} |", rule, *rows, "", total(lines)])
