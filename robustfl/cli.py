"""The command line: the parser of all commands; their bodies are in each room's own `cli`."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable

import robustfl
from robustfl.data import cli as data_cli
from robustfl.evidence import cli as evidence_cli
from robustfl.execution import cli as execution_cli
from robustfl.selection import cli as selection_cli
from robustfl.study import cli as study_cli

EXAMPLES = """examples:
  robustfl runs --scale full --group noise_0.4_cifar10      the runs behind one table of the slides
  robustfl show cifar10-robust-symmetric0.4-full-seed0       what a run does, and for which slide
  robustfl train cifar10-robust-symmetric0.4-full-seed0 --scale smoke --out /tmp/run
  robustfl data fetch cifar10                               download and verify a data set
  robustfl records list                                     what has been run, where and when
  robustfl select --points X.npy --labels y.npy --ratio 0.4 --out subset.npz

The whole study is one Snakemake target: snakemake --cores 4 report/summary.pdf"""

# A command: its name, what adds its options to a parser, what does it, and a line of help.
COMMANDS = (
    # one run, and what the study knows of it
    (
        "train",
        execution_cli.add_train_arguments,
        execution_cli.train,
        "train one run of the study and write its record",
    ),
    (
        "runs",
        study_cli.add_runs_arguments,
        study_cli.runs,
        "print the names of the study's runs, one per line",
    ),
    (
        "show",
        study_cli.add_show_arguments,
        study_cli.show,
        "print a run's full spec and the slide it belongs to, as YAML",
    ),
    # data sets and selection by themselves
    ("data", data_cli.add_arguments, data_cli.main, "fetch or check the data sets"),
    (
        "select",
        selection_cli.add_arguments,
        selection_cli.main,
        "select a weighted subset of points in .npy files",
    ),
    # many runs, and what is made of their records
    (
        "records",
        study_cli.add_records_arguments,
        study_cli.records,
        "pack finished runs into files for git, unpack and list them",
    ),
    (
        "evidence",
        execution_cli.add_evidence_arguments,
        execution_cli.evidence,
        "train the runs of config/evidence.yaml, in order, going on after a stop",
    ),
    (
        "report",
        evidence_cli.add_report_arguments,
        evidence_cli.report,
        "gather the records: tables, figures, report",
    ),
    (
        "tensorboard",
        evidence_cli.add_tensorboard_arguments,
        evidence_cli.tensorboard,
        "write the curves of records as TensorBoard events",
    ),
)


def main(argv: list[str] | None = None, should_stop: Callable[[], bool] = lambda: False) -> int:
    """Run a command; returns the exit status: 0 done, 1 the work failed, 2 bad input.

    should_stop: asked after every epoch of a run; where it says True, the run saves and ends.
    """
    _open_standard_streams()
    args = build_parser().parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else argv
    args.should_stop = should_stop
    try:
        status = args.run(args)
        sys.stdout.flush()  # here, where a closed or full stdout can still be told
        return status
    except BrokenPipeError:  # nobody reads on (`robustfl runs | head`): exit quietly
        _drop_stdout()
        return 0
    except ValueError as error:  # StudyError and SpecError among them
        _tell(error)
        return 2
    except ImportError as error:  # a package is absent, or a limit of memory keeps it out
        _tell(ImportError(f"a package could not be loaded: {error}"))
        return 1
    except (RuntimeError, OSError) as error:
        _tell(error)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _drop_stdout()  # it may be what is full: what it holds back cannot be written
        return 1


def _open_standard_streams() -> None:
    """Put /dev/null where standard input, output or error is closed, as a daemon or cron has it.

    Otherwise the next file that is opened takes the number and stands for the stream, and Python
    has None for it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            os.set_inheritable(number, True)

    # only now, when no file of Python's own takes one of the three numbers
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))


def _tell(error: Exception) -> None:
    """Say what is wrong in one line, whatever a library or a path has put into it."""
    text = " ".join(line.strip(" ") for line in str(error).split("\n"))
    # what a screen would obey is shown instead
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    print("robustfl:", shown, file=sys.stderr)


def _drop_stdout() -> None:
    """Let what stdout still holds go to /dev/null, or Python fails when it writes it at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; `run` of a parsed command is the function that does it."""
    parser = argparse.ArgumentParser(
        "robustfl",
        description="Train on selected and weighted subsets of the data, "
        "and reproduce the study of it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"robustfl {robustfl.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    for name, add_arguments, run, text in COMMANDS:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(run=run)
        add_arguments(sub)
    return parser
