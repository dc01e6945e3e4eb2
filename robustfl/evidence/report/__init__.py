"""From records to tables, figures, the PDF and the page: `robustfl report` and the workflow."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from robustfl.evidence import figures, tables
from robustfl.files import write_atomically
from robustfl.study.changes import changes
from robustfl.study.experiments import Study, StudyError, load, snapshot

SOURCE = Path("report/summary.typ")


class ReportError(RuntimeError):
    """The report cannot be made; the message says what is absent and which command makes it."""


def make(what: str, study: Study, config: dict, out: Path) -> None:
    """Make one part: `tables` and `figures` from the records, `pdf` or `html` at `out` from those.

    Raises RecordError for a record that is absent, broken or not the study's, before anything is
    written; ReportError when the tables or figures that `out` needs are absent or of another study.
    """
    folder = Path(config["results"]) / study.scale
    if what == "tables":
        say_changes(study, folder / "study")
        make_tables(tables.gather(study, config), folder / "tables")
        keep_study(study, config, folder / "study")
    elif what == "figures":
        figures.draw(tables.gather(study, config), folder / "figures")
    elif what == "pdf":
        make_pdf(study, folder, Path(out))
    elif what == "html":
        from robustfl.evidence.report import page

        report = made_before(study, folder)
        page.make(tables.gather(study, config), report, Path(out))
    else:
        raise ValueError(f"what must be one of tables, figures, pdf, html; got {what!r}")


def make_tables(gathered: tables.StudyRecords, folder: Path) -> None:
    """{group}.csv, runs.csv, verdicts.csv, verdicts.md and report.json, the source of the PDF."""
    from robustfl.evidence import claims
    from robustfl.evidence.report import content, verdict_tables

    judged = claims.verdicts(gathered)
    report = content.content(gathered, judged)
    tables.write(gathered, folder)
    verdict_tables.write(judged, gathered, folder)
    write_atomically(
        folder / "report.json",
        json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    )


def say_changes(study: Study, folder: Path) -> None:
    """Say on stderr how the study differs from the one that the tables there were made from."""
    if not (folder / "experiments.yaml").exists() or study.directory.resolve() == folder.resolve():
        return
    try:
        lines = changes(load(study.scale, directory=folder), study)
    except StudyError as error:  # of another version of the package: these tables replace it
        lines = [f"it can not be compared: {error}"]
    if lines:
        print(f"the tables of {folder.parent} were of another study:", file=sys.stderr)
    for line in lines:
        print(f"  {line}", file=sys.stderr)


def keep_study(study: Study, config: dict, folder: Path) -> None:
    """Copy the YAML files that the tables were made from beside them.

    A published study so stands by itself.
    """
    # tables of a published study are made from these very files
    if study.directory.resolve() != folder.resolve():
        for name, text in snapshot(study, config).items():
            write_atomically(folder / name, text)


def made_before(study: Study, folder: Path) -> dict:
    """report.json, where it and all figures are this study's. Raises ReportError."""
    report = _read(folder / "tables" / "report.json")

    # a report of other groups would be laid out without a word, and beside the wrong figures
    keys = [section["key"] for section in report["sections"]]
    if (report["scale"], keys) != (study.scale, list(study.groups)):
        raise ReportError(
            f"{folder}/tables/report.json must be of this study's groups; run `robustfl report "
            "tables` again"
        )
    drawn = [folder / "figures" / f"{name}.svg" for name in figures.names(study)]
    absent = [str(path) for path in drawn if not path.exists()]
    if absent:
        raise ReportError(
            f"figures must exist; {', '.join(absent)} do not: run `robustfl report figures`"
        )
    return report


def make_pdf(study: Study, folder: Path, out: Path) -> None:
    """Lay out summary.typ with the fonts that typst carries.

    There is no system font, no network and no date in it, so the bytes repeat.
    """
    made_before(study, folder)
    import typst

    # typst reads nothing outside its root: the source and the results must both lie in it
    root = Path(os.path.commonpath([Path.cwd().resolve(), folder.resolve()]))
    inputs = {
        name: f"/{path.resolve().relative_to(root).as_posix()}"
        for name, path in _sources(study, folder).items()
    }
    try:
        pdf = typst.compile(
            SOURCE.resolve(),
            root=root,
            font_paths=[font_folder()],
            ignore_system_fonts=True,
            sys_inputs=inputs,
            timestamp=0,
        )
    except typst.TypstError as error:
        raise ReportError(f"{SOURCE} must compile: {error}") from error
    write_atomically(out, pdf)


def _sources(study: Study, folder: Path) -> dict[str, Path]:
    """What summary.typ reads, by the name of its input; a scale that warns speaks of itself alone.

    The pages of several scales lie beside the scales' folders, where they have been made.
    """
    sources = {"report": folder / "tables" / "report.json", "figures": folder / "figures"}
    if study.scale_entry.warn:
        return sources
    answered, ladder = folder.parent / "answers" / "answers.json", folder.parent / "ladder"
    if answered.exists():
        sources["answers"] = answered
    if (ladder / "ladder.svg").exists() and (ladder / "memorisation.svg").exists():
        sources["ladder"] = ladder
    return sources


def font_folder() -> Path:
    """The fonts of matplotlib, in which the figures' text is set."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReportError(
            f"{path} must be readable: {error}; run `robustfl report tables` first"
        ) from error
