"""Records with planted numbers, so that what tables and claims must find is known."""

import base64
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from robustfl.study import experiments, record

POINTS, HELD, TEST = 1000, 20, 2000


def curves(spec, best: float, last: float, learnt: float = 60.0, **more) -> list[dict]:
    """Accuracy climbs to `best` in the last epoch but one and ends at `last`.

    learnt: false labels that the run has memorised when it ends, %.

    The hold-out prefers the best epoch.
    """
    rows, backwards, forwards = [], 0, 0
    looks = spec.weights != "uniform" or spec.method not in ("full", "random")
    picked = max(1, int(spec.ratio * POINTS))
    for epoch in range(1, spec.epochs + 1):
        warm = epoch <= spec.warmup
        backwards += POINTS if warm else picked
        forwards += (POINTS if warm else picked) + (POINTS if looks and not warm else 0)
        share = epoch / max(1, spec.epochs - 1)
        top1 = last if epoch == spec.epochs else best * share
        none = dict.fromkeys(record.CURVES)
        chosen = {
            "label_precision": 0.7,
            "weighted_precision": 0.8,
            "label_recall": 0.5,
            "overlap": 0.5,
            "objective": 0.9,
        }
        rows.append(
            none
            | ({} if warm else chosen | more)
            | {
                "epoch": epoch,
                "lr": spec.lr,
                "train_loss": 2 - share,
                "train_acc_given": min(98.0, 99 * share),
                "train_acc_true": 45 * share,
                "test_loss": 2.0,
                "test_top1": top1,
                "test_top5": min(100.0, top1 + 30),
                "heldout_acc": top1 / 2,
                "selected": POINTS if warm else picked,
                "covered": 0.0 if warm else min(1.0, spec.ratio + 0.1 * epoch),
                "forwards": forwards,
                "backwards": backwards,
            }
        )
    rows[-1] |= {"fit": 90.0, "fit_true": 95.0}
    if spec.noise != "none":
        rows[-1]["fit_false"] = learnt
    return rows


def metrics(name: str, spec, rows: list[dict]) -> dict:
    best, last = max(rows, key=lambda r: r["test_top1"]), rows[-1]
    return {
        "name": name,
        "spec_hash": spec.hash,
        "best_top1": best["test_top1"],
        "best_epoch": best["epoch"],
        "best_top5": max(r["test_top5"] for r in rows),
        "last_top1": last["test_top1"],
        "last_top5": last["test_top5"],
        "heldout_top1": best["test_top1"] if spec.holdout else None,
        "heldout_epoch": best["epoch"] if spec.holdout else None,
        "covered": last["covered"],
        "label_precision": last["label_precision"],
        "forwards": last["forwards"],
        "backwards": last["backwards"],
        "noise_measured": spec.noise_rate,
        "selection_hash": "0" * 64,
        "seconds": {"select": 1.0, "train": 2.0, "evaluate": 0.5},
        "energy": None,
        "provenance": {
            "package": "0.1.0",
            "commit": "0" * 40,
            "python": "3.11.7",
            "torch": "2.13.0+cpu",
            "numpy": "2.4.6",
            "device": "cpu",
            "device_name": "Test processor",
            "threads": 1,
            "deterministic": True,
            "end": "2026-02-03T01:00:00+00:00",
            "begin": "2026-02-01T01:00:00+00:00",
            "weights_hash": "1" * 64,
            "data_source": "sample",
            "data_hashes": {"train_images": "a" * 64},
            "label_hash": "b" * 64,
            "train_points": POINTS,
            "heldout_points": HELD,
            "test_points": TEST,
        },
    }


def selections(spec) -> tuple[list[dict], dict | None]:
    """Rows of classes.csv and a picks.json, where a real run would have them."""
    epochs = range(spec.warmup + 1, spec.epochs + 1)
    if spec.noise == "none" or spec.method == "full" or spec.pretrained or len(epochs) < 2:
        return [], None
    rows = [
        {"epoch": e, "class": c, "selected": 10, "label_precision": c / 10, "label_recall": 0.5}
        for e in epochs
        for c in range(10)
    ]
    shape = [32, 32, 3] if spec.dataset == "cifar10" else [28, 28, 1]
    pixels = base64.b64encode(zlib.compress(bytes(int(np.prod(shape))))).decode()
    points = [
        {"count": len(epochs) - i % 2, "given": i % 10, "true": 3, "pixels": pixels}
        for i in range(8)
    ]
    return rows, {"selections": len(epochs), "shape": shape, "most": points, "least": points[::-1]}


def write_study(
    folder: Path,
    known: experiments.Study,
    accuracy: Callable = lambda spec: (50.0, 45.0),
    change: Callable = lambda r: None,
    **columns: float,
) -> dict:
    """Write a record for each run of `known`; returns a config that points at them.

    accuracy: spec -> (best, last). columns: of `curves`.
    """
    for name, spec in known.specs.items():
        rows = curves(spec, *accuracy(spec), **columns)
        made = metrics(name, spec, rows)
        change(made)
        timings = [
            {"epoch": r["epoch"], "select": 0.1, "train": 0.2, "evaluate": 0.1, "energy": None}
            for r in rows
        ]
        record.write(
            folder / "results" / known.scale / "runs" / name,
            spec,
            made,
            rows,
            timings,
            *selections(spec),
        )
    return {"results": str(folder / "results")}
