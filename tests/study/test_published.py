"""Committed records (results/laptop, results/full) agree with their committed tables and report."""

import json
import re
from pathlib import Path

import pytest
from pypdf import PdfReader

from robustfl.evidence import report, tables
from robustfl.evidence.report import ladder
from robustfl.study import experiments

RESULTS = Path("results")
SCALES = sorted(
    path.parent.name for path in RESULTS.glob("*/tables") if path.parent.name != "smoke"
)


def published(scale: str) -> experiments.Study:
    """The study that the committed tables are of: the YAML files beside them."""
    return experiments.load(scale, directory=RESULTS / scale / "study")


@pytest.mark.parametrize("scale", SCALES)
def test_gathered_again_the_tables_and_verdicts_are_the_same(scale, tmp_path):
    report.make_tables(tables.gather(published(scale), {"results": str(RESULTS)}), tmp_path)
    ours = {path.name: path.read_text() for path in (RESULTS / scale / "tables").iterdir()}
    again = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert sorted(again) == sorted(ours)
    for name in ours:
        assert again[name] == ours[name], name


@pytest.mark.parametrize("scale", SCALES)
def test_the_published_report_is_of_these_tables(scale):
    pages = [page.extract_text() for page in PdfReader(f"report/{scale}.pdf").pages]
    text = re.sub(r"\s+", " ", " ".join(pages))
    known = published(scale)
    assert f"{len(known.specs)} in {len(known.groups)} groups" in text
    said = (RESULTS / scale / "tables" / "verdicts.md").read_text().split("\n\n")[1].splitlines()[0]
    assert re.sub(r"\s+", " ", said)[:60] in text


def test_the_readme_says_what_the_laptop_report_says():
    section = (
        Path("README.md").read_text().partition("at the laptop scale\n")[2].partition("\n## ")[0]
    )
    said = json.loads((RESULTS / "laptop/tables/report.json").read_text())["verdicts"]["headlines"]
    known = {f"- {h['says']}: {h['found']}." for h in said}
    lines = [line for line in section.splitlines() if line.startswith("- ")]
    assert len(lines) >= 5 and set(lines) <= known
    verdicts = Path("results/laptop/tables/verdicts.md").read_text()
    tests, stay = re.search(
        r"for all (\d+) tests of this kind \(Holm\), (\d+) stay decided", verdicts
    ).groups()
    assert f"{stay} of the {tests} comparisons" in re.sub(r"\s+", " ", section)


def test_at_the_laptop_scale_wrong_labels_are_memorised():
    """Training on all points at noise 0.4 loses at least 3 points of its best accuracy.

    At least three seeds.
    """
    group = published("laptop").groups["noise_0.4_cifar10"]
    records = tables.gather(published("laptop"), {"results": str(RESULTS)}).runs_of(
        tables.row_of(group, "full")
    )
    assert len(records) >= 3
    assert sum(r.metrics["best_top1"] - r.metrics["last_top1"] for r in records) / len(records) >= 3


def test_the_committed_ladder_is_that_of_the_committed_records(tmp_path):
    config = experiments.read_yaml(Path("config/config.yaml"))
    ladder.make(config, tmp_path)
    for path in (RESULTS / "ladder").iterdir():
        assert path.read_text() == (tmp_path / path.name).read_text(), path.name
