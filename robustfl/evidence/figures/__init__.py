"""Every plot of the slides, and diagnostics of the selections, as SVG files.

Their bytes follow from the records alone. names() needs the study only, so that the workflow knows
the files before anything has run; draw() needs the records.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robustfl.study.experiments import Group, Study

if TYPE_CHECKING:
    from robustfl.evidence.tables import StudyRecords

FOREST = "verdicts"  # stem of the forest plot of the primary comparisons
EXTRAS = {  # kinds of diagnostic figures -> what they show
    "diagnostics": "its selections",
    "classes": "its picks, class by class",
    "picks": "its picked images",
}


def diagnosed(study: Study, group: Group) -> bool:
    """Whether a group gets a figure of its selections.

    It does if some run selects again and again by what the model says.
    """
    if group.figure not in ("ratio", "curves"):
        return False
    # the first seed speaks for all: the seeds of a row differ in nothing else
    specs = [study.specs[row.names[0]] for row in group.rows]
    return any(s.method not in ("full", "random") or s.weights != "uniform" for s in specs)


def noisy(study: Study, group: Group) -> bool:
    """Whether some run of the group selects a part again and again under label noise.

    The picks of such a run can be right or wrong.
    """
    specs = [study.specs[row.names[0]] for row in group.rows]
    parts = [s for s in specs if s.noise != "none" and s.method != "full" and not s.pretrained]
    return any(s.epochs - s.warmup > s.selection_interval for s in parts)


def extras(study: Study, group: Group) -> list[str]:
    """Kinds of diagnostic figures of a group; the file is {kind}_{group}.svg."""
    kinds = ["diagnostics"] if diagnosed(study, group) else []
    return kinds + (["classes", "picks"] if noisy(study, group) else [])


def names(study: Study) -> list[str]:
    """Stems of a study's figure files: the forest plot, every group's, then the diagnostics'."""
    return [
        FOREST,
        *study.groups,
        *(
            f"{extra}_{key}"
            for key, group in study.groups.items()
            for extra in extras(study, group)
        ),
    ]


def parts(study: Study, name: str) -> tuple[str, str]:
    """(what it shows, key of its group) of a file's stem; the key is empty for a file of all.

    A file that is named after its group shows its rows.
    """
    if name in study.groups:
        return "its rows", name
    kind, _, key = name.partition("_")
    return (EXTRAS[kind], key) if kind in EXTRAS and key in study.groups else (name, "")


def draw(gathered: StudyRecords, folder: Path) -> None:
    """Write {name}.svg into `folder` for every name of names()."""
    from robustfl.evidence import claims
    from robustfl.evidence.figures import forest, picked_images, selection_quality, slides, style

    lines = [forest.Line(v) for v in claims.verdicts(gathered) if v.primary]
    style.write_svg(lambda figure: forest.draw(figure, lines), folder / f"{FOREST}.svg")
    kinds = {
        "diagnostics": selection_quality.selection,
        "classes": picked_images.classes,
        "picks": picked_images.images,
    }
    for key, group in gathered.study.groups.items():
        style.save(slides.PLOTS[group.figure], gathered, group, folder / f"{key}.svg")
        for extra in extras(gathered.study, group):
            style.save(kinds[extra], gathered, group, folder / f"{extra}_{key}.svg")
