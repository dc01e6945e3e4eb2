"""The ladder as a table, a page and a figure.

{results}/ladder/ladder.csv, ladder.md, ladder.svg and memorisation.svg.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from robustfl.evidence import ladder
from robustfl.evidence.figures import style
from robustfl.evidence.ladder import MEASURES, REFERENCES, Rung, Step
from robustfl.evidence.report.wording import interval, join_with_and, with_sign
from robustfl.evidence.tables import display_label
from robustfl.files import write_atomically

COLOURS = {  # by label; the released rule is dashed, as everywhere
    "full": "#000000",
    "full, another shuffle": "#7B3294",
    "random": "#6E6E6E",
    "weighted only": "#0072B2",
    "weighted only, 0.5 medians": "#00785A",
    "FL weighted": "#D55E00",
}
# share of the axis' logarithm by which lines stand apart, so that no bar covers another
SPREAD = 0.03


def make(config: dict, folder: Path) -> None:
    """Write the four files into `folder`.

    Raises RecordError; ValueError where no run of the ladder is finished.
    """
    rungs = ladder.climb(config)
    if not rungs:
        raise ValueError(
            f"results must hold a finished run of the ladder; {config['results']} has none: make "
            "evidence"
        )
    steps = ladder.steps(rungs)
    write_atomically(
        folder / "ladder.csv",
        table(steps).to_csv(index=False, float_format="%.4f", lineterminator="\n"),
    )
    write_atomically(folder / "ladder.md", page(rungs, steps))
    style.write_svg(lambda figure: draw(figure, steps), folder / "ladder.svg")
    style.write_svg(lambda figure: draw_memory(figure, rungs), folder / "memorisation.svg")


def table(steps: list[Step]) -> pd.DataFrame:
    """One line per step: differences in points, with the 95 % interval over seeds.

    The interval is empty with one seed.
    """
    return pd.DataFrame(
        {
            "images": step.images,
            "row": step.row,
            "against": step.reference,
            "measure": step.measure,
            "seeds": step.estimate.seeds,
            "difference": step.estimate.mean,
            "low": step.estimate.low,
            "high": step.estimate.high,
            "slides": step.slides,
        }
        for step in steps
    )


def draw(figure: Figure, steps: list[Step]) -> None:
    """Differences from the random subset and from full training against the number of images.

    The panels are of the last and of the best epoch.
    """
    figure.set_size_inches(style.WIDTH, 5.2)
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    rows = ladder.rows_shown(steps)
    drawn: dict[str, Any] = {}
    for line, reference in zip(panels, REFERENCES):
        for axes, measure in zip(line, MEASURES):
            axes.axhline(0, color="#444444", linewidth=0.8, zorder=1)
            shown = [*rows, *(other for other in REFERENCES if other != reference)]
            for i, row in enumerate(shown):
                climbed = ladder.of_row(steps, row, reference, measure)
                if climbed:
                    drawn[row] = _line(axes, climbed, 1 + SPREAD * (i - len(shown) / 2))

                # the slides' difference, which is of 50,000 images
                published = [step for step in climbed if step.slides is not None]
                if published:
                    largest = max(published, key=lambda step: step.images)
                    look = style.SLIDES | {"color": COLOURS[largest.label]}
                    axes.plot(50_000, largest.slides, **look, label="_slides")
            axes.set_xscale("log")
            axes.set_title(f"{MEASURES[measure]}, minus {REFERENCES[reference]}")

    # axes and one legend for all panels
    images = sorted({50_000} | {step.images for step in steps})
    for axes in panels.flat:
        axes.set_xticks(images, [f"{n:,}" for n in images])
        axes.minorticks_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("difference in test accuracy (points)")
    for axes in panels[1]:
        axes.set_xlabel("training images")
    (cross,) = panels[0, 0].plot([], [], **style.SLIDES)
    style.legend(figure, [*drawn.values(), cross], [*drawn, "slides' difference"], 3)


def draw_memory(figure: Figure, rungs: list[Rung]) -> None:
    """False labels that each row predicts, over the epochs: a panel per rung, means over seeds."""
    figure.set_size_inches(style.WIDTH, 2.6)
    panels = figure.subplots(1, len(rungs), sharey=True, squeeze=False)[0]
    drawn: dict[str, Any] = {}
    for axes, rung in zip(panels, rungs):
        for row in rung.rows:
            runs = list(rung.records[row].values())
            if not runs:
                continue
            # looks at the whole training set come at the same epochs in every seed of a row
            looks = [[e for e in run.curves if e["fit_false"] is not None] for run in runs]
            shared = set.intersection(*({e["epoch"] for e in look} for look in looks))
            x = sorted(shared)
            y = [
                sum(e["fit_false"] for look in looks for e in look if e["epoch"] == epoch)
                / len(looks)
                for epoch in x
            ]
            released = row.method == "centrality"
            (drawn[display_label(row)],) = axes.plot(
                x,
                y,
                color=COLOURS[row.label],
                linestyle=style.DASHES["centrality"] if released else "-",
                linewidth=1,
            )
        axes.set_title(f"{rung.scale.images:,} images")
        axes.set_xlabel("epoch")
    panels[0].set_ylabel("false labels learnt (%)")
    style.legend(figure, list(drawn.values()), list(drawn), 4)


def _line(axes, climbed: list[Step], shift: float):
    """A row's line: means over seeds, with 95 % intervals where a rung has two seeds or more."""
    label = climbed[0].label
    released = climbed[0].row.endswith("(released)")
    x = [step.images * shift for step in climbed]
    y = [step.estimate.mean for step in climbed]
    half = [0.0 if (high := s.estimate.high) is None else high - s.estimate.mean for s in climbed]
    return axes.errorbar(
        x,
        y,
        yerr=half,
        color=COLOURS[label],
        linestyle=style.DASHES["centrality"] if released else "-",
        marker="s" if released else "o",
        markersize=3,
        capsize=2,
        elinewidth=0.8,
    )


def page(rungs: list[Rung], steps: list[Step]) -> str:
    """The page: the figure, a sentence on each of its lines, what rows memorise, the numbers."""
    runs = sum(len(seeds) for rung in rungs for seeds in rung.records.values())
    parts = [
        "# The ladder",
        f"Made by `robustfl report ladder` from {runs} runs. Label noise 0.4 on CIFAR-10, one "
        "network (ResNet-32 at stride 2), 120 epochs at every rung, learning rate in proportion "
        "to the batch; all 10,000 test images. Differences are points of test accuracy with 95 % "
        "intervals over seeds. `full, another shuffle` differs from full training in the order "
        "of its images alone: what it shows is chance.",
        "![Differences from random and full against the number of images](ladder.svg)",
        "## What each line does",
        "\n".join(f"- {sentence(steps, row)}" for row in ladder.rows_shown(steps)),
        "## What is memorised",
        "![Share of the false labels learnt, over the epochs](memorisation.svg)",
        memory_sentence(rungs),
        _memory_table(rungs),
        "## Numbers",
        _numbers(steps),
    ]
    return "\n\n".join(parts) + "\n"


def sentence(steps: list[Step], row: str) -> str:
    """What a row's differences from random and from full training do along the ladder.

    They are of the last epoch.
    """
    parts = []
    for reference, name in REFERENCES.items():
        climbed = ladder.of_row(steps, row, reference, "last_top1")
        if climbed:
            values = join_with_and(
                [f"{interval(step.estimate)} at {step.images:,}" for step in climbed]
            )
            parts.append(f"From {name} it differs by {values}; {verdict(climbed)}")
    return f"**{row}**, last epoch. " + " ".join(parts)


def verdict(climbed: list[Step]) -> str:
    """Whether a row's effect grows, fades or turns, and on which rungs its sign is decided."""
    word, change = ladder.trend(climbed)
    if change is None:
        trend = "a trend needs two seeds at both ends"
    elif word == "no trend decided":
        trend = f"no trend is decided (change {interval(change)})"
    else:
        trend = f"the effect {word} (change {interval(change)})"

    # one seed has no interval, so that no sign is decided there
    if all(step.estimate.low is None for step in climbed):
        return f"{trend}; one seed per rung decides no sign."
    above = [s for s in climbed if s.estimate.low is not None and s.estimate.low > 0]
    below = [s for s in climbed if s.estimate.high is not None and s.estimate.high < 0]
    sides = [side for side in (_where("above", above), _where("below", below)) if side]
    return f"{trend}; {join_with_and(sides or ['decidedly on neither side at any rung'])}."


def _where(side: str, steps: list[Step]) -> str:
    return (
        f"decidedly {side} it at {join_with_and([f'{step.images:,}' for step in steps])}"
        if steps
        else ""
    )


def memory_sentence(rungs: list[Rung]) -> str:
    """What full training has fitted of the false labels when it ends, rung by rung."""
    lines = [line for line in ladder.memorised(rungs) if line["row"] == "full"]
    shares = join_with_and(
        [f"{line['fit_false']:.1f} % on {line['images']:,} images" for line in lines]
    )
    return (
        "When it ends, full training predicts the false label of its wrongly labelled points for "
        f"{shares}. A network that had learnt nothing but the truth would predict next to none of "
        "them."
    )


def _memory_table(rungs: list[Rung]) -> str:
    head = "| images | row | seeds | true labels fitted, % | false labels fitted, % |\n"
    head += "|---:|---|---:|---:|---:|\n"
    return head + "\n".join(
        f"| {m['images']:,} | {m['row']} | {m['seeds']} | {m['fit_true']:.1f} | "
        f"{m['fit_false']:.1f} |"
        for m in ladder.memorised(rungs)
    )


def _numbers(steps: list[Step]) -> str:
    head = "| images | row | against | measure | seeds | difference | slides |\n"
    head += "|---:|---|---|---|---:|---|---:|\n"
    return head + "\n".join(
        f"| {s.images:,} | {s.row} | {s.reference} | {MEASURES[s.measure]} | {s.estimate.seeds} | "
        f"{interval(s.estimate)} | {'' if s.slides is None else with_sign(s.slides)} |"
        for s in steps
    )
