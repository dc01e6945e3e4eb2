"""docs/records.md and the records say the same: every name documented, none besides."""

import re
from pathlib import Path

import pytest

from robustfl.execution import run
from robustfl.study import record, record_docs


def documented() -> dict[str, list[str]]:
    """First columns of the tables under the headings that name a file or key in backticks."""
    text = Path("docs/records.md").read_text()
    parts = re.split(r"^## `([^`]+)`.*$", text, flags=re.M)
    return {
        k: re.findall(r"^\| `([^`]+)` \|", body.split("\n## ")[0], flags=re.M)
        for k, body in zip(parts[1::2], parts[2::2])
    }


@pytest.mark.parametrize(
    "heading, names",
    [
        ("curves.csv", record.CURVES),
        ("timings.csv", record.TIMINGS),
        ("metrics.json", record.METRICS),
        ("classes.csv", record.CLASSES),
        ("picks.json", record.PICKS),
    ],
)
def test_every_name_is_documented_in_order(heading, names):
    assert documented()[heading] == list(names)


def test_the_table_of_curves_is_made_of_the_columns():
    page = Path("docs/records.md").read_text()
    assert record_docs.with_table(page) == page, "run python -m robustfl.study.record_docs"


def test_provenance_of_a_real_run_is_documented(tiny, tmp_path):
    metrics = run.run_to_record(
        tiny,
        tmp_path / "run",
        "tiny",
        run.Options(device="cpu", cache=str(tmp_path), log=lambda line: None),
    )
    assert set(documented()["provenance"]) == set(metrics["provenance"])
    for key in ("select", "train", "evaluate"):
        assert key in metrics["seconds"]
