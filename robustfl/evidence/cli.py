"""`robustfl report` and `robustfl tensorboard`: records -> tables, figures, report, event files.

pandas and tensorboard are imported by the calls alone.
"""

from __future__ import annotations

import argparse
import os
import shlex
from importlib import import_module
from pathlib import Path

from robustfl.files import user_path
from robustfl.study.cli import add_scale, add_set, config_of, study_of
from robustfl.study.experiments import resolve_scale

# modules of robustfl.evidence.report with make(config, folder)
PAGES = ("answers", "ladder", "readings")


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `robustfl report`."""
    parser.add_argument(
        "what",
        choices=["tables", "figures", "pdf", "html", *PAGES],
        help="what to make; pdf and html need tables and figures",
    )
    add_scale(parser)
    parser.add_argument(
        "--out",
        type=user_path,
        help="the PDF or page (default: results/{scale}/report.pdf or report.html)",
    )
    parser.add_argument(
        "--study",
        type=user_path,
        metavar="FOLDER",
        help="YAML files of a published study (results/laptop/study, say) instead of config",
    )
    add_set(parser)


def report(args: argparse.Namespace) -> int:
    """Make what was asked for. Returns 0; raises ReportError, RecordError, StudyError, OSError."""
    # figures become files, by matplotlib's SVG canvas: a backend that is set for notebooks, and may
    # not be installed here, would stop matplotlib's import
    os.environ.pop("MPLBACKEND", None)
    if args.what in PAGES:  # a page is of several scales, so it lies beside their folders
        config = config_of(args)
        page = import_module(f"robustfl.evidence.report.{args.what}")
        folder = Path(config["results"]) / args.what
        if args.study is None:
            page.make(config, folder)
        elif args.what == "answers":
            page.make(config, folder, Path(args.study))
        else:
            raise ValueError(f"--study must be left out for {args.what}; got {args.study}")
        return 0

    # pandas and matplotlib come with this import, so that no other command waits for them
    study, config = study_of(args)
    from robustfl.evidence import report as pages

    out = args.out or Path(config["results"]) / study.scale / f"report.{args.what}"
    pages.make(args.what, study, config, Path(out))
    return 0


def add_tensorboard_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `robustfl tensorboard`."""
    parser.add_argument(
        "runs",
        nargs="*",
        type=user_path,
        metavar="RUN",
        help="a run's name, a glob of names, or the path of a run's folder or packed record, which"
        " has a slash (default: all records of the scale, or all runs of the groups)",
    )
    parser.add_argument(
        "--group",
        action="append",
        metavar="GROUP",
        help="only runs of this group of experiments, named after its rows; may be given again",
    )
    add_scale(parser)
    parser.add_argument(
        "--out",
        type=user_path,
        metavar="FOLDER",
        help="its earlier events are replaced (default: {results}/{scale}/tensorboard)",
    )
    add_set(parser)


def tensorboard(args: argparse.Namespace) -> int:
    """Write event files of the runs that were asked for. Returns 0.

    Raises ValueError, where the package tensorboard is absent too, RecordError, OSError.
    """
    try:
        # first of all, so that nothing is read in vain
        from robustfl.evidence import event_files
    except ImportError as error:
        raise ValueError(
            "the package tensorboard must be installed (pip install 'robustfl[tensorboard]'); got:"
            f" {error}"
        ) from error
    from robustfl.evidence import event_runs

    # groups are a study's; records alone need a folder, which a run from a spec file may have named
    missing = 0
    if args.group:
        study, config = study_of(args)
        scale = Path(config["results"]) / study.scale
        runs, missing = event_runs.of_groups(study, scale, args.group, args.runs)
    else:
        scale = _scale_folder(args.scale, config_of(args))
        runs = event_runs.of_scale(scale, args.runs)

    out = scale / "tensorboard" if args.out is None else Path(args.out)
    event_files.write(runs, out)
    absent = f"; without a record yet: {missing}" if missing else ""
    print(f"{len(runs)} runs written{absent}. tensorboard --logdir {shlex.quote(str(out))}")
    return 0


def _scale_folder(name: str | None, config: dict) -> Path:
    """The folder of a scale in the results, by its own name or one of scales.yaml.

    Raises StudyError for a name that neither has.
    """
    name = name or config["scale"]
    results = Path(config["results"])
    there = any(path.name == name for path in results.glob("*/"))
    return results / (name if there else resolve_scale(name))
