"""`robustfl report`: records -> tables, figures, report. pandas is imported by the call alone."""

from __future__ import annotations

import argparse
import os
from importlib import import_module
from pathlib import Path

from robustfl.files import user_path
from robustfl.study.cli import add_scale, add_set, config_of, study_of

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
        page.make(config, Path(config["results"]) / args.what)
        return 0

    # pandas and matplotlib come with this import, so that no other command waits for them
    study, config = study_of(args)
    from robustfl.evidence import report as pages

    out = args.out or Path(config["results"]) / study.scale / f"report.{args.what}"
    pages.make(args.what, study, config, Path(out))
    return 0
