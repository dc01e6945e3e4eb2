"""`robustfl train` and `robustfl evidence`. torch is imported only where a run is trained.

A run's spec travels as a value: whoever knows the study (the workflow, `evidence`, a call by name)
hands it on with `spec_words`, and a call with --spec reads no YAML file.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from robustfl import machine
from robustfl.files import user_path
from robustfl.study import experiments, packed
from robustfl.study.cli import add_scale, add_set, config_of, override, set_words, study_of
from robustfl.study.run_spec import RunSpec

if TYPE_CHECKING:
    from robustfl.training.loop import Progress

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What a run needs beside its spec, none of which changes a number; with config.yaml's own values.
MACHINE = {
    "device": "auto",
    "results": "results",
    "cache": "cache",
    "data": {"source": "auto", "folder": None},
}


@dataclass(frozen=True)
class Order:
    """A run to train: its name and spec, the folder of its record, and a config like MACHINE."""

    name: str
    spec: RunSpec
    out: Path
    config: dict

    @property
    def on_gpu(self) -> bool:
        """Whether the run takes a CUDA device; asked of the driver, without importing torch."""
        device = self.config["device"]
        return device == "cuda" or (device == "auto" and experiments.cuda_present())


def spec_words(spec: RunSpec, config: dict) -> list[str]:
    """Options of `robustfl train` that hand on a spec and where its data lies.

    The spec is JSON of the fields that are not at their default.
    """
    values = {field.name: getattr(spec, field.name) for field in fields(spec)}
    changed = {f.name: values[f.name] for f in fields(spec) if values[f.name] != f.default}
    machine = {key: config[key] for key in ("device", "cache", "data")}
    return ["--spec", json.dumps(changed), *set_words(machine)]


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `robustfl train`."""
    parser.add_argument("name", help="a run name, see `robustfl runs`")
    parser.add_argument(
        "--out",
        type=user_path,
        help="folder of the record (default: {results}/{scale}/runs/{name})",
    )
    parser.add_argument(
        "--spec",
        type=user_path,
        metavar="FILE|JSON",
        help="train this spec (a spec.json, or its text) instead of the study's of that name; "
        "needs --out or --scale and reads no YAML: --set may give "
        f"{', '.join(MACHINE)}",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="CPU threads of torch (default 1: run several at once)",
    )
    parser.add_argument(
        "--no-worker",
        action="store_true",
        help="train in this process, also where a workflow offers its warm one",
    )
    parser.add_argument(
        "--eager",
        action="store_true",
        help="plain steps on a GPU instead of CUDA graphs (the reference)",
    )
    parser.add_argument(
        "--checkpoint-every", type=int, default=10, metavar="N", help="epochs between checkpoints"
    )
    add_scale(parser)
    add_set(parser)


def train(args: argparse.Namespace) -> int:
    """Train one run and write its record; a packed record of its spec is restored instead.

    args.should_stop: Callable[[], bool], asked after every epoch; args.argv: the command's words.
    Returns 0, or 128 + the signal that interrupted the run. Raises ValueError for bad input,
    otherwise as `run.run_to_record`.
    """
    _check_numbers(args)
    order = _order(args)

    published = packed.find(order.out, order.spec)
    if published and not (order.out / "metrics.json").exists():
        packed.unpack(published, order.out, order.spec)
        print(f"{order.name}: restored from {published}; delete that file to train again")
        return 0

    # deterministic cuBLAS, and hardware queues enough that streams of many runs share none; CUDA
    # reads both when it starts, in this process or in the worker, which inherits them
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")
    if not args.no_worker:
        from robustfl.execution import worker_client

        status = worker_client.submit(args.argv, shared=order.on_gpu)
        if status is not None:
            return status
    return _train_here(order, args)


def _check_numbers(args: argparse.Namespace) -> None:
    cores = machine.cores()
    if not 1 <= args.threads <= cores:
        raise ValueError(
            f"--threads must be from 1 to the {cores} cores that this process may use; "
            f"got {args.threads}"
        )
    if args.checkpoint_every < 1:
        raise ValueError(f"--checkpoint-every must be >= 1; got {args.checkpoint_every}")


def _order(args: argparse.Namespace) -> Order:
    """What the arguments ask for: the spec that they hand on, or the study's of that name."""
    if args.spec is not None:
        spec = _read_spec(args.spec)
        config = _machine(args.set)
        scale = args.scale
    else:
        study, config = study_of(args)
        spec = study.spec(args.name)
        scale = study.scale
    if not _is_folder_name(args.name):
        raise ValueError(f"name must be one folder name; got {args.name!r}")
    if args.out == "":
        raise ValueError("--out must be a folder; got ''")

    # without a study nobody can say which scale `auto` is, or whether there is one
    if args.out is None and (scale in (None, "auto") or not _is_folder_name(scale)):
        raise ValueError(
            f"--spec must come with --out, or with a --scale that names a folder; got {scale!r}"
        )
    out = Path(args.out or Path(config["results"]) / scale / "runs" / args.name)
    return Order(args.name, spec, out, config)


def _is_folder_name(text: str) -> bool:
    return Path(text).name == text and text not in ("", "..")


def _read_spec(source: str) -> RunSpec:
    """The spec of a JSON text or of a file that holds one. Raises ValueError."""
    try:
        is_text = source.lstrip().startswith("{")
        values = json.loads(source if is_text else Path(source).read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        shown = f"{source[:80]!r}..." if len(source) > 80 else repr(source)
        raise ValueError(f"--spec must be a readable JSON file; {shown}: {error}") from error
    return RunSpec.from_dict(values)


def _machine(items: list[str]) -> dict:
    """MACHINE with --set applied. Raises StudyError for what a spec has decided already."""
    unset: dict = dict.fromkeys(("seeds", "groups", "epochs", "precision", "torch_compile"))
    return experiments.check_config({"scale": "auto"} | unset | override(MACHINE, items))


def _train_here(order: Order, args: argparse.Namespace) -> int:
    """Train in this process: set torch up, turn signals into Interrupted, show every epoch."""
    from robustfl.execution.preparation import Options
    from robustfl.execution.progress import watching
    from robustfl.execution.run import Interrupted, run_to_record

    _make_bits_repeat(args.threads)
    options = Options(
        device=order.config["device"],
        cache=order.config["cache"],
        source=order.config["data"]["source"],
        folder=order.config["data"]["folder"],
        checkpoint_every=args.checkpoint_every,
        graphs=not args.eager,
        log=lambda line: print(line, flush=True),
    )
    should_stop: Callable[[], bool] = args.should_stop
    try:
        with _raised_by_signals(Interrupted), watching(order.name, order.spec.epochs) as show:

            def after_epoch(progress: Progress) -> None:
                try:
                    show(progress)
                except BrokenPipeError:  # nobody reads any more, as after `| head`
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                    raise Interrupted(signal.SIGPIPE) from None
                if should_stop():
                    raise Interrupted(signal.SIGTERM)

            metrics = run_to_record(order.spec, order.out, order.name, options, after_epoch)
    except Interrupted as interrupted:
        return 128 + interrupted.args[0]

    best = metrics["best_top1"]
    last = metrics["last_top1"]
    print(f"{order.name}: best {best:.2f} %, last {last:.2f} % top-1; record in {order.out}")
    return 0


@contextmanager
def _raised_by_signals(interrupted: type[BaseException]) -> Iterator[None]:
    """SIGNALS raise interrupted(number) meanwhile, and never where nobody would catch it."""

    def interrupt(number: int, frame: object) -> None:
        raise interrupted(number)

    # Python lets the main thread alone set handlers; in a worker's thread should_stop ends the run
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _make_bits_repeat(threads: int) -> None:
    """Set torch up so that the same spec gives the same bits: for this whole process."""
    import torch

    # deterministic kernels, and fp32 that is fp32 on a GPU too
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.allow_tf32 = False
    # filling every new tensor costs a pass over it and changes no result
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def add_evidence_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `robustfl evidence`."""
    parser.add_argument(
        "--list", action="store_true", help="only say what is left, and for about how long"
    )
    parser.add_argument(
        "--at-once",
        type=int,
        default=2,
        metavar="N",
        help="runs at once, one thread each (default 2)",
    )
    add_set(parser)


def evidence(args: argparse.Namespace) -> int:
    """Train what evidence.yaml asks for and has no record. Returns 1 where a run failed."""
    from robustfl.execution import campaign

    if args.at_once < 1:
        raise ValueError(f"--at-once must be >= 1; got {args.at_once}")
    config = config_of(args)
    print("\n".join(campaign.plan(config, args.at_once)), flush=True)
    if args.list:
        return 0

    going = campaign.Campaign(config, args.at_once)
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: going.stop())
    failed = going.run()
    if going.stopped:
        print("stopped; the same command goes on from there", flush=True)
        return 128 + signal.SIGTERM
    return 1 if failed else 0
