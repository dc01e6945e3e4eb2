"""Progress of a run: a bar where a person watches, plain lines in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def line(name: str, epochs: int, row: dict) -> str:
    test = "" if row["test_top1"] is None else f"test {row['test_top1']:.2f} %  "
    return (
        f"{name}: epoch {row['epoch']}/{epochs}  lr {row['lr']:g}  loss {row['train_loss']:.3f}  "
        f"train {row['train_acc_given']:.2f} %  {test}points {row['selected']}"
    )


@contextmanager
def watching(name: str, epochs: int) -> Iterator[Callable]:
    """Yields watch(progress), to be called after each epoch."""
    if not sys.stderr.isatty():
        yield lambda progress: print(line(name, epochs, progress.curves[-1]), flush=True)
        return

    # rich is imported only where somebody watches: a run in a log starts without it
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, TextColumn("test {task.fields[top1]:.2f} %")) as bar:
        task = bar.add_task(name, total=epochs, top1=float("nan"))

        def update(progress) -> None:
            top1 = progress.curves[-1]["test_top1"]
            bar.update(task, completed=progress.epoch, **({} if top1 is None else {"top1": top1}))

        yield update
