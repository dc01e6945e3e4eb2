"""The command line. torch is imported only by the commands that train."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from importlib import import_module
from pathlib import Path

import yaml

import robustfl
from robustfl.study import experiments, packed
from robustfl.study.show import run_text

PAGES = ("ladder", "readings")  # modules of robustfl.evidence.report with make(config, folder)
EXAMPLES = """examples:
  robustfl runs --scale full --group noise_0.4_cifar10      the runs behind one table of the slides
  robustfl show cifar10_robust_agnostic0.4_full_seed0       what one run does, and which slide it belongs to
  robustfl train cifar10_robust_agnostic0.4_full_seed0 --scale smoke --out /tmp/run
  robustfl data fetch cifar10                               download and verify a data set
  robustfl records list                                     what has been run, where and when
  robustfl select --points X.npy --labels y.npy --ratio 0.4 --out subset.npz

The whole study is one Snakemake target: snakemake --cores 4 report/summary.pdf"""


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 the work failed, 2 bad input."""
    args = build_parser().parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else argv
    try:
        return args.run(args)
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # the reader has gone: nothing to say to it
        return 0
    except ValueError as error:  # StudyError and SpecError among them
        print(f"robustfl: {error}", file=sys.stderr)
        return 2
    except (RuntimeError, OSError) as error:
        print(f"robustfl: {error}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "robustfl",
        description="Train on selected and weighted subsets of the data, and reproduce the study of it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"robustfl {robustfl.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(run=run)
        return sub

    train = command("train", _train, "train one run of the study and write its record")
    train.add_argument("name", help="a run name, see `robustfl runs`")
    train.add_argument(
        "--out", help="folder of the record (default: {results}/{scale}/runs/{name})"
    )
    train.add_argument(
        "--spec",
        help="a spec.json to train instead of the study's spec of that name (needs no YAML)",
    )
    train.add_argument(
        "--threads",
        type=int,
        default=1,
        help="CPU threads of torch (default 1: run several at once)",
    )
    train.add_argument(
        "--no-worker", action="store_true", help="train in this process, not in the shared warm one"
    )
    train.add_argument(
        "--eager",
        action="store_true",
        help="plain steps on a GPU instead of CUDA graphs (the reference)",
    )
    train.add_argument(
        "--checkpoint-every", type=int, default=10, metavar="N", help="epochs between checkpoints"
    )
    runs = command("runs", _runs, "print the names of the study's runs, one a line")
    runs.add_argument("--group", help="only this group of experiments")
    show = command("show", _show, "print a run's full spec and the slide it belongs to, as YAML")
    show.add_argument("name")
    for sub in (train, runs, show):
        sub.add_argument(
            "--scale", metavar="SCALE", help="a key of scales.yaml, or auto (default: the config's)"
        )
        _add_set(sub)

    from robustfl.data import cli as data_cli
    from robustfl.selection import cli as select_cli
    from robustfl.study import record_list

    data_cli.add_arguments(command("data", data_cli.main, "fetch or check the data sets"))
    select_cli.add_arguments(
        command("select", select_cli.main, "select a weighted subset of points in .npy files")
    )
    held = command(
        "records", _records, "pack finished runs into files for git, unpack and list them"
    )
    for action in record_list.add_arguments(held):
        _add_set(action)
    evidence = command(
        "evidence",
        _evidence,
        "train the runs of config/evidence.yaml, in order, going on after a stop",
    )
    evidence.add_argument(
        "--list", action="store_true", help="only say what is left, and for about how long"
    )
    evidence.add_argument(
        "--at-once",
        type=int,
        default=2,
        metavar="N",
        help="runs at once, one thread each (default 2)",
    )
    _add_set(evidence)
    report = command("report", _report, "gather the records: tables, figures, report")
    report.add_argument(
        "what",
        choices=["tables", "figures", "pdf", *PAGES],
        help="what to make; pdf needs tables and figures",
    )
    report.add_argument(
        "--scale", metavar="SCALE", help="a key of scales.yaml, or auto (default: the config's)"
    )
    report.add_argument(
        "--out", default="report/summary.pdf", help="the PDF (default: %(default)s)"
    )
    report.add_argument(
        "--study",
        metavar="FOLDER",
        help="YAML files of a published study (results/laptop/study, say) instead of config",
    )
    _add_set(report)
    return parser


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of config/config.yaml",
    )


def _config(args: argparse.Namespace) -> dict:
    """config.yaml with --set applied. Raises StudyError for an unknown key."""
    config = dict(experiments.read_yaml(_directory(args) / "config.yaml"))
    for item in args.set:
        key, equals, value = item.partition("=")
        if not equals or key not in config:
            raise experiments.StudyError(
                f"--set must be KEY=VALUE with a key of config.yaml ({', '.join(config)}); got {item!r}"
            )
        try:
            held = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise experiments.StudyError(
                f"--set {key} must be a YAML value; got {value!r}"
            ) from error
        config[key] = (
            config[key] | held if isinstance(held, dict) and isinstance(config[key], dict) else held
        )
    return experiments.check_config(config)


def _study(args: argparse.Namespace) -> tuple[experiments.Study, dict]:
    config = _config(args)
    return experiments.load(args.scale, config, _directory(args)), config


def _directory(args: argparse.Namespace) -> Path:
    """Where the YAML files lie."""
    return Path(getattr(args, "study", None) or experiments.CONFIG_DIR)


def _train(args: argparse.Namespace) -> int:
    cores = os.cpu_count() or 1
    if not 1 <= args.threads <= cores:
        raise ValueError(
            f"--threads must be from 1 to the {cores} cores of this machine; got {args.threads}"
        )
    if args.checkpoint_every < 1:
        raise ValueError(f"--checkpoint-every must be >= 1; got {args.checkpoint_every}")
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # deterministic cuBLAS; must be set before CUDA starts
    os.environ.setdefault(
        "CUDA_DEVICE_MAX_CONNECTIONS", "32"
    )  # hardware queues, so that streams of many runs share none
    if args.spec:
        spec, config, scale = _read_spec(args.spec), _config(args), "full"
    else:
        known, config = _study(args)
        spec, scale = known.spec(args.name), known.scale
    if Path(args.name).name != args.name:
        raise ValueError(f"name must be one folder name; got {args.name!r}")
    out = args.out or Path(config["results"]) / scale / "runs" / args.name
    published = packed.find(out, spec)
    if published and not (Path(out) / "metrics.json").exists():
        packed.unpack(published, out, spec)
        print(f"{args.name}: restored from {published}; delete that file to train again")
        return 0
    if not args.no_worker:
        from robustfl.execution import worker_client

        on_gpu = config["device"] == "cuda" or (
            config["device"] == "auto" and experiments.cuda_present()
        )
        status = worker_client.submit(args.argv, shared=on_gpu)
        if status is not None:
            return status
    import torch

    from robustfl.execution.progress import watching
    from robustfl.execution.run import Interrupted, Options, run_to_record

    def interrupt(number, frame):
        raise Interrupted(number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, interrupt)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = (
        False  # costs a pass over every new tensor, changes no result
    )
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32 on a GPU too
    options = Options(
        config["device"],
        config["cache"],
        config["data"]["source"],
        config["data"]["folder"],
        args.checkpoint_every,
        not args.eager,
        lambda line: print(line, flush=True),
    )
    try:
        with watching(args.name, spec.epochs) as show:
            metrics = run_to_record(
                spec, out, args.name, options, lambda progress: _after_epoch(progress, show)
            )
    except Interrupted as signalled:
        return 128 + signalled.args[0]
    print(
        f"{args.name}: best {metrics['best_top1']:.2f} %, last {metrics['last_top1']:.2f} % top-1; record in {out}"
    )
    return 0


def _read_spec(path: str):
    from robustfl.study.run_spec import RunSpec

    try:
        values = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"--spec must be a readable JSON file; {path}: {error}") from error
    return RunSpec.from_dict(values)


def _after_epoch(progress, show) -> None:
    from robustfl.execution.run import Interrupted
    from robustfl.execution.worker_server import LOCAL

    show(progress)
    if hasattr(LOCAL, "cancelled") and LOCAL.cancelled.is_set():
        raise Interrupted(signal.SIGTERM)


def _runs(args: argparse.Namespace) -> int:
    known, _ = _study(args)
    if args.group is not None and args.group not in known.groups:
        raise experiments.StudyError(
            f"--group must be one of {', '.join(known.groups)}; got {args.group!r}"
        )
    groups = [known.groups[args.group]] if args.group else known.groups.values()
    for name in dict.fromkeys(name for group in groups for row in group.rows for name in row.names):
        print(name)
    return 0


def _show(args: argparse.Namespace) -> int:
    known, _ = _study(args)
    print(run_text(known, args.name), end="")
    return 0


def _records(args: argparse.Namespace) -> int:
    from robustfl.study import record_list

    return record_list.main(args, _config(args))


def _evidence(args: argparse.Namespace) -> int:
    from robustfl.execution import campaign

    if args.at_once < 1:
        raise ValueError(f"--at-once must be >= 1; got {args.at_once}")
    config = _config(args)
    print("\n".join(campaign.plan(config, args.at_once)), flush=True)
    if args.list:
        return 0

    going = campaign.Campaign(config, args.at_once, args.set)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: going.stop())
    failed = going.run()
    if going.stopped:
        print("stopped; the same command goes on from there", flush=True)
        return 128 + signal.SIGTERM
    return 1 if failed else 0


def _report(args: argparse.Namespace) -> int:
    if args.what in PAGES:  # of several scales, so that they lie beside these
        config = _config(args)
        page = import_module(f"robustfl.evidence.report.{args.what}")
        page.make(config, Path(config["results"]) / args.what)
        return 0

    known, config = _study(args)
    from robustfl.evidence import report

    report.make(args.what, known, config, Path(args.out))
    return 0
