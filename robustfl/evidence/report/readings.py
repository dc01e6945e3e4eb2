"""The joint fit of data covered and accuracy lost as a page, a table and a figure.

{results}/readings/readings.*
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from robustfl.evidence import readings
from robustfl.evidence.figures import style
from robustfl.evidence.readings import GROUPS, RATIOS, Fit, Reading
from robustfl.evidence.report.wording import with_sign
from robustfl.evidence.tables import GREEDY_VARIANTS
from robustfl.files import write_atomically

MARKERS = {"gradient": "o", "logit": "s", "last_layer": "^", "pretrained": "D"}
COLOURS = {"facility_location": "#0072B2", "centrality": "#D55E00"}


def make(config: dict, folder: Path) -> None:
    """Write readings.csv, readings.md and readings.svg into `folder`.

    Raises RecordError; ValueError where no run of the readings is finished.
    """
    fits = readings.fits(config)
    if not fits:
        raise ValueError(
            f"results must hold a finished run of the readings; {config['results']} has none: "
            "make evidence"
        )
    table = pd.DataFrame(_line(fit) for fit in fits)
    write_atomically(
        folder / "readings.csv", table.to_csv(index=False, float_format="%.2f", lineterminator="\n")
    )
    write_atomically(folder / "readings.md", page(fits))
    style.write_svg(lambda figure: draw(figure, fits), folder / "readings.svg")


def words(reading: Reading) -> str:
    """`released rule, gradient, every epoch, from epoch 13`."""
    space = reading.space.replace("_", " ")
    if reading.space == "pretrained":
        return f"{GREEDY_VARIANTS[reading.method]} rule, gradients of a finished model, once"
    often = "every epoch" if reading.every == 1 else f"every {reading.every} epochs"
    return f"{GREEDY_VARIANTS[reading.method]} rule, {space}, {often}, from epoch {reading.start}"


def _line(fit: Fit) -> dict:
    r = fit.reading
    line = {
        "rule": GREEDY_VARIANTS[r.method],
        "space": r.space,
        "every": r.every,
        "start": r.start,
        "off": fit.off,
    }
    line |= {"covered_off": fit.covered_off, "lost_off": fit.lost_off}
    for name, pairs in (("covered", fit.covered), ("lost", fit.lost)):
        for key in GROUPS:
            for ratio in RATIOS:
                pair = pairs.get((key, ratio))
                line[f"{name}_{key.removeprefix('coverage_')}_{100 * ratio:.0f}"] = pair and pair[0]
    return line


def page(fits: list[Fit]) -> str:
    """The page: what fits best, and the best ten beside the slides' numbers."""
    whole = [fit for fit in fits if fit.whole]
    parts = [
        "# Which reading gives the slides' data covered and accuracies?",
        f"Made by `robustfl report readings` from the runs of {' and '.join(GROUPS)} at laptop "
        f"size; {len(whole)} of {len(fits)} readings begun are whole. A distance is the root "
        "mean square of differences from the slides, in points: of data covered (8 numbers), of "
        "accuracy lost against training on everything (8), of both (16).",
    ]
    if whole:
        parts += [
            "![Distance in accuracy lost against distance in data covered](readings.svg)",
            winner(whole),
            _table(whole[:10]),
            "The numbers of the best reading, ours and the slides':",
            _numbers(whole[0]),
        ]
    return "\n\n".join(parts) + "\n"


def winner(whole: list[Fit]) -> str:
    """What fits best together, and what fits best in either half alone."""
    first = whole[0]
    by_covered, by_lost = (
        min(whole, key=lambda f: getattr(f, key)) for key in ("covered_off", "lost_off")
    )
    return (
        f"Best of all sixteen numbers: **{words(first.reading)}** ({first.off:.1f} points off: "
        f"{first.covered_off:.1f} in data covered, {first.lost_off:.1f} in accuracy lost). Best "
        f"in data covered alone: {words(by_covered.reading)} ({by_covered.covered_off:.1f}); in "
        f"accuracy lost alone: {words(by_lost.reading)} ({by_lost.lost_off:.1f})."
    )


def _table(fits: list[Fit]) -> str:
    head = "| reading | both | data covered | accuracy lost |\n|---|---:|---:|---:|\n"
    return head + "\n".join(
        f"| {words(f.reading)} | {f.off:.1f} | {f.covered_off:.1f} | {f.lost_off:.1f} |"
        for f in fits
    )


def _numbers(fit: Fit) -> str:
    head = "| data set | ratio | covered, % | slides | accuracy lost | slides |\n"
    head += "|---|---:|---:|---:|---:|---:|\n"
    lines = []
    for key in GROUPS:
        for ratio in RATIOS:
            covered = fit.covered[key, ratio]
            lost = fit.lost[key, ratio]
            lines.append(
                f"| {key.removeprefix('coverage_')} | {100 * ratio:.0f} % | {covered[0]:.1f} | "
                f"{covered[1]:.0f} | {with_sign(lost[0])} | {with_sign(lost[1])} |"
            )
    return head + "\n".join(lines)


def draw(figure: Figure, fits: list[Fit]) -> None:
    """One point per whole reading: off in data covered against off in accuracy lost.

    The corner is the slides.
    """
    figure.set_size_inches(style.WIDTH, 3.4)
    axes = figure.subplots()
    whole = [fit for fit in fits if fit.whole]
    drawn = {}
    for fit in whole:
        r = fit.reading
        name = f"{GREEDY_VARIANTS[r.method]}, {r.space.replace('_', ' ')}"
        look: dict[str, Any] = {
            "marker": MARKERS[r.space],
            "color": COLOURS[r.method],
            "linestyle": "none",
            "alpha": 0.8,
        }
        (drawn[name],) = axes.plot(fit.covered_off, fit.lost_off, **look)

    # the best three in words: more would cover each other
    for fit in whole[:3]:
        at = (fit.covered_off, fit.lost_off)
        axes.annotate(words(fit.reading), at, xytext=(5, 3), textcoords="offset points", fontsize=6)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("off in data covered (points, root mean square)")
    axes.set_ylabel("off in accuracy lost (points, root mean square)")
    if drawn:
        style.legend(figure, list(drawn.values()), list(drawn), 4)
