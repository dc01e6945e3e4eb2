"""Faults injected into real runs: each is then complete and as the undisturbed one, or refused.

python tests/faults.py [--kills 30]      (make faults)

Prints one line at the end; the exit status is 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
NAMES = (
    "cifar10-speed-facility_location0.2-seed0",
    "fashion_mnist-robust-symmetric0.4-centrality0.4-ball2-seed0",
    "cifar10-robust-symmetric0.4-full-seed0",
)

PLANT = """
import sys, torch
from robustfl import cli
from robustfl.training.augment import Images
kind, real, calls = sys.argv.pop(1), Images.augmented, 0
def planted(self, *arguments):
    global calls
    calls += 1
    batch = real(self, *arguments)
    if calls == 5 and kind == "memory":
        raise torch.OutOfMemoryError("planted: tried to allocate 2.00 GiB")
    if calls == 5:
        batch[0, 0, 0, 0] = float("nan")
    return batch
Images.augmented = planted
sys.exit(cli.main(sys.argv[1:]))
"""


class Faults:
    """A scratch folder, the undisturbed results, and the score."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.injected = self.lost = self.differ = 0
        self.environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
        self.whole: dict[str, tuple] = {}

    def expected(self, name: str) -> tuple:
        """The contents of the undisturbed run, trained when first asked for."""
        if name not in self.whole:
            out = self.folder / "whole" / name
            assert self.train(name, out, "--no-worker").wait() == 0
            self.whole[name] = contents(out)
        return self.whole[name]

    def train(
        self,
        name: str,
        out: Path,
        *words: str,
        program: tuple[str, ...] = ("-m", "robustfl"),
        **options,
    ):
        command = [
            sys.executable,
            *program,
            "train",
            name,
            "--scale",
            "smoke",
            "--out",
            str(out),
            "--checkpoint-every",
            "1",
        ]
        return subprocess.Popen(
            [*command, "--set", f"cache={self.folder}/cache", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=options.pop("env", self.environment),
            **options,
        )

    def settle(self, name: str, out: Path, *words: str) -> None:
        """Run the same command again, undisturbed: the result must be the expected one."""
        run = self.train(name, out, *words)
        text = run.communicate()[0]
        if run.returncode or not (out / "metrics.json").exists():
            self.lost += 1
            print(f"LOST {out.name}: {text[-400:]}")
        elif contents(out) != self.expected(name):
            self.differ += 1
            print(f"DIFFERS {out.name}: {text[-400:]}")

    def refused(self, what: str, run: subprocess.Popen, out: Path, message: str) -> None:
        """The disturbed run must have ended with this message and no record."""
        text = run.communicate()[0]
        self.injected += 1
        if run.returncode == 0 or message not in text or (out / "metrics.json").exists():
            self.lost += 1
            print(f"NOT REFUSED {what}: status {run.returncode}: {text[-400:]}")

    def kill(self, number: int, i: int, words: tuple[str, ...]) -> None:
        """End a run at a random moment: its client, or the worker's processes where it uses one."""
        name = NAMES[i % len(NAMES)]
        out = self.folder / f"kill{i}-{number}-{'plain' if words else 'worker'}"
        for _ in range(2):  # twice into the same run
            run = self.train(name, out, *words)
            time.sleep(self.random.uniform(0.05, 4.0 if words else 2.5))
            if not words and self.random.random() < 0.5:
                for pid in self.servers():
                    signal_quietly(pid, number)
            run.send_signal(number)
            run.communicate()
            self.injected += 1
        self.settle(name, out, *words)

    def servers(self) -> list[int]:
        command = ["pgrep", "-f", f"worker_server.start.*{self.folder}"]
        pids = subprocess.run(command, capture_output=True, text=True).stdout
        return [int(pid) for pid in pids.split()]

    def interrupted(self, out: Path) -> None:
        """A run with a checkpoint after its second epoch, ended there."""
        run = self.train(NAMES[2], out, "--no-worker")
        for line in run.stdout:
            if "epoch 2/" in line:
                break
        run.send_signal(signal.SIGTERM)
        run.communicate()


def contents(out: Path) -> tuple:
    """What must not differ: the curves to the byte, the selections, the final weights."""
    metrics = json.loads((out / "metrics.json").read_text())
    return (
        (out / "curves.csv").read_bytes(),
        metrics["selection_hash"],
        metrics["provenance"]["weights_hash"],
    )


def signal_quietly(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def kills(f: Faults, count: int) -> None:
    for i in range((count + 1) // 2):
        f.kill(signal.SIGKILL, i, ("--no-worker",) if i % 2 else ())
        print(f"kill -9: {2 * (i + 1)} of {count}", flush=True)
    for i in range(2):
        f.kill(signal.SIGTERM, i, ("--no-worker",) if i % 2 else ())
    print("SIGTERM: 4", flush=True)


def full_disk(f: Faults) -> None:
    """A file-size quota stops the checkpoint (EFBIG) as a full disk would.

    There is no record, and the run goes on afterwards.
    """
    out = f.folder / "disk"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    run = f.train(NAMES[2], out, "--no-worker", preexec_fn=limit)
    f.refused("full disk", run, out, "File too large")
    f.settle(NAMES[2], out, "--no-worker")


def planted(f: Faults) -> None:
    """A NaN in one batch, and a device that reports it is out of memory."""
    for kind, message in (("nan", "training loss must be finite; got nan"), ("memory", "ran out")):
        out = f.folder / kind
        run = f.train(NAMES[2], out, "--no-worker", program=("-c", PLANT, kind))
        f.refused(kind, run, out, message)
        f.settle(NAMES[2], out)


def flipped_byte(f: Faults) -> None:
    """One byte of the data set, in a copy of the package."""
    package = f.folder / "package"
    shutil.copytree(
        ROOT / "robustfl", package / "robustfl", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(ROOT / "config", package / "config")
    sample = package / "robustfl/data/sample/cifar10.npz"
    body = bytearray(sample.read_bytes())
    body[len(body) // 2] ^= 1
    sample.write_bytes(bytes(body))
    out = f.folder / "flipped"
    words = ["train", NAMES[2], "--scale", "smoke", "--no-worker", "--out", str(out)]
    run = subprocess.Popen(
        [sys.executable, "-m", "robustfl", *words],
        cwd=package,
        env=f.environment | {"PYTHONPATH": str(package)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    f.refused("flipped byte", run, out, "cifar10.npz")


def cut_checkpoints(f: Faults) -> None:
    """The newest checkpoint cut at every tenth of its length; then both of them."""
    f.interrupted(f.folder / "held")
    for tenth in range(11):
        out = f.folder / f"cut{tenth}"
        shutil.copytree(f.folder / "held", out)
        victims = sorted(out.glob("checkpoint.ckpt*")) if tenth == 10 else [out / "checkpoint.ckpt"]
        for path in victims:
            body = path.read_bytes()
            path.write_bytes(body[: len(body) * (tenth % 10) // 10])
        f.injected += 1
        f.settle(NAMES[2], out)
        if not list(out.glob("*.rejected")):
            f.lost += 1
            print(f"UNNOTICED cut at {tenth}/10")


def side_by_side(f: Faults) -> None:
    """The same run started twice at once, and two snakemakes on one target.

    Either leaves one record, the expected one.
    """
    out = f.folder / "twice"
    for run in [f.train(NAMES[0], out), f.train(NAMES[0], out, "--no-worker")]:
        run.communicate()
    f.injected += 1
    f.settle(NAMES[0], out)
    target = f"{f.folder}/results/smoke/runs/{NAMES[2]}/metrics.json"
    command = [
        "snakemake",
        "--cores",
        "1",
        target,
        "--directory",
        str(f.folder / "flow"),
        "--config",
        "scale=smoke",
        f"results={f.folder}/results",
        f"cache={f.folder}/cache",
    ]
    (f.folder / "flow").mkdir()
    shutil.copytree(ROOT / "config", f.folder / "flow/config")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    runs = [
        subprocess.Popen(
            [*command, "--snakefile", str(ROOT / "Snakefile")],
            cwd=ROOT,
            env=f.environment | {"PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    texts = [run.communicate()[0] for run in runs]
    f.injected += 1
    if all(run.returncode for run in runs) or contents(Path(target).parent) != f.expected(NAMES[2]):
        f.lost += 1
        print("LOST two snakemakes:", texts[0][-400:], texts[1][-400:])


def main(count: int, seed: int = 0) -> int:
    with tempfile.TemporaryDirectory(prefix="rfl", dir="/tmp") as folder:
        f = Faults(Path(folder), seed)
        try:
            for step in (
                lambda f: kills(f, count),
                full_disk,
                planted,
                flipped_byte,
                cut_checkpoints,
                side_by_side,
            ):
                step(f)
        finally:
            for pid in f.servers():
                signal_quietly(pid, signal.SIGKILL)
    print(f"faults injected: {f.injected}, runs lost: {f.lost}, results that differ: {f.differ}")
    return int(f.lost + f.differ > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--kills", type=int, default=30, help="how often kill -9 strikes (default 30)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    arguments = parser.parse_args()
    sys.exit(main(arguments.kills, arguments.seed))
