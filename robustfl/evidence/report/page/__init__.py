"""A study as one HTML page that needs no network: results/{scale}/report.html.

content.py gathers what is shown, page.html.jinja holds what can be read without a script, and the
scripts beside it draw, filter and open. The page loads nothing: style, scripts (vendor/ has those
of others), images and numbers all stand in it, and it asks the browser to refuse anything else.
"""

from __future__ import annotations

import json
from pathlib import Path

import jinja2

from robustfl.evidence import claims
from robustfl.evidence.claims import Verdict
from robustfl.evidence.report import ReportError, verdict_tables
from robustfl.evidence.report.page import content
from robustfl.evidence.tables import StudyRecords
from robustfl.files import write_atomically

HERE = Path(__file__).parent
SCRIPTS = (  # in the order they stand in the page
    "vendor/d3.min.js",
    "vendor/plot.umd.min.js",
    "theme.js",
    "plots.js",
    "curves.js",
    "verdicts.js",
    "pictures.js",
)


def make(gathered: StudyRecords, report: dict, out: Path) -> None:
    """Write the page of a study to `out`, with links to its records and tables from there.

    report: report.json of the same records. Raises ReportError where the tables are of other
    records, OSError for a table or figure that is not there.
    """
    judged = claims.verdicts(gathered)
    table = gathered.folder / "tables" / "verdicts.csv"
    if table.read_text(encoding="utf-8") != verdict_tables.csv_text(judged):
        raise ReportError(
            f"{table} must be of these records; it is not: run `robustfl report tables` and "
            "`robustfl report figures` again"
        )
    write_atomically(out, html(gathered, judged, report, out))


def html(gathered: StudyRecords, judged: list[Verdict], report: dict, out: Path) -> str:
    """The page's text. Its bytes follow from the records, tables and figures alone."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(
        report=report,
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        scripts=[(HERE / name).read_text(encoding="utf-8") for name in SCRIPTS],
        data=script_safe(content.drawn(gathered, judged, out)),
        **content.shown(gathered, judged, out),
    )


def script_safe(value: dict) -> str:
    """JSON that may stand between script tags, whatever texts it holds.

    >>> script_safe({"says": "</script>"})
    '{"says":"\\\\u003c/script>"}'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
