"""The primary claims, each at the largest scale that can test it: a table, a page, a figure.

{results}/answers holds answers.csv, answers.md, answers.json (which the PDF lays out) and
answers.svg, and in study/ the YAML files that they were made from: a published page stands by
itself.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from robustfl.evidence import answers
from robustfl.evidence.answers import Answer
from robustfl.evidence.figures import forest, style
from robustfl.evidence.report import verdict_tables
from robustfl.files import write_atomically
from robustfl.study.experiments import CONFIG_DIR, SNAPSHOT


def make(config: dict, folder: Path, directory: Path = CONFIG_DIR) -> None:
    """Write the four files into `folder`, with a copy of the YAML files of `directory`.

    Raises RecordError; ValueError where no run of a primary claim is finished.
    """
    everything = answers.in_order(answers.at_every_scale(config, directory), directory)
    if not everything:
        raise ValueError(
            f"results must hold finished runs of a primary claim; {config['results']} has none: "
            "make evidence"
        )
    largest_first = sorted(everything, key=lambda a: -a.images)
    chosen = answers.in_order(answers.answers(largest_first), directory)
    everything = [next((a for a in chosen if a.place == b.place), b) for b in everything]
    write_atomically(
        folder / "answers.csv",
        table(everything, chosen).to_csv(index=False, float_format="%.4f", lineterminator="\n"),
    )
    lines = [line(answer) for answer in chosen]
    write_atomically(
        folder / "answers.json", json.dumps(lines, indent=1, ensure_ascii=False) + "\n"
    )
    write_atomically(folder / "answers.md", page(everything, chosen))
    marks = [forest.Line(a.verdict, f"{a.images:,} images") for a in chosen]
    style.write_svg(lambda figure: forest.draw(figure, marks), folder / "answers.svg")

    # a published page is made again from these very files
    if directory.resolve() != (folder / "study").resolve():
        for name in (f"{part}.yaml" for part in (*SNAPSHOT, "config")):
            write_atomically(folder / "study" / name, (directory / name).read_bytes())


def table(everything: list[Answer], chosen: list[Answer]) -> pd.DataFrame:
    """One line per primary comparison and scale; answers: whether it is the one that answers."""
    verdicts = [answer.verdict for answer in everything]
    frame = verdict_tables.frame(verdicts)
    frame.insert(0, "scale", [a.scale.name for a in everything])
    frame.insert(1, "images", [a.images for a in everything])
    frame.insert(2, "answers", [a in chosen for a in everything])
    return frame.drop(columns=["says", "slide", "family", "equal", "runs"])


def line(answer: Answer) -> dict:
    """What the PDF says of an answer."""
    (of,) = verdict_tables.primary([v for v in (answer.verdict, answer.last) if v])
    return of | {"where": where(answer)}


def where(answer: Answer) -> str:
    """The scale of an answer, its images and seeds."""
    seeds = answer.verdict.estimate.seeds if answer.verdict.estimate else 0
    return f"{answer.scale.name}, {answer.images:,} images, {seeds} seed{'s' * (seeds != 1)}"


def page(everything: list[Answer], chosen: list[Answer]) -> str:
    """The page: the figure, one sentence per comparison, and the same at every other scale."""
    parts = [
        "# Answers",
        "Made by `robustfl report answers` from the committed records. Each primary claim of "
        "[config/claims.yaml](../../config/claims.yaml) is answered at the largest scale whose "
        "runs can test it: what it needs is given there, and it has two seeds at least. The "
        "answers are corrected together (Holm), those of every other scale among themselves. "
        "Differences are points of test accuracy with 95 % intervals.",
        "![Forest plot of the primary comparisons](answers.svg)",
        "\n".join(f"- {sentence(answer)}" for answer in chosen),
        "## At every scale",
        "\n".join(f"- {sentence(answer)}" for answer in everything if answer not in chosen),
    ]
    return "\n\n".join(parts) + "\n"


def sentence(answer: Answer) -> str:
    """The claim, where it is answered, and what was found there."""
    claim = answer.verdict.comparison.claim
    found = verdict_tables.finding(answer.verdict, answer.last)
    return f"**{claim.says}** ({where(answer)}): {found}."
