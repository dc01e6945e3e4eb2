"""How two studies differ, in words."""

import shutil
from pathlib import Path

import pytest
import yaml

from robustfl.evidence import report
from robustfl.study import experiments
from robustfl.study.changes import changes


def edited(tmp_path: Path, **edits) -> experiments.Study:
    """The study at smoke scale with its YAML files changed: name of the file -> what is done."""
    shutil.copytree("config", tmp_path / "config", dirs_exist_ok=True)
    for name, edit in edits.items():
        path = tmp_path / "config" / f"{name}.yaml"
        content = yaml.safe_load(path.read_text())
        edit(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False))
    return experiments.load("smoke", directory=tmp_path / "config")


def test_equal_studies_have_no_changes():
    assert changes(experiments.load("smoke"), experiments.load("smoke")) == []


def test_each_kind_of_change_is_a_line(tmp_path):
    def experiments_(content):
        groups = content["groups"]
        groups["another"] = groups["radius_cifar10"] | {"title": "Another"}
        groups["noise_0.4_cifar10"]["title"] = "Forty per cent"
        rows = groups["noise_0.4_cifar10"]["rows"]
        rows["full, steeper"] = {"set": {"method": "full", "lr": 0.3}}
        del rows["weighted only"]
        rows["full"]["set"]["lr"] = 0.2
        del groups["ratio_cifar10"]

    today = experiments.load("smoke")
    other = edited(tmp_path, experiments=experiments_, config=lambda c: c.update(seeds=[4]))
    assert changes(today, other) == [
        "seeds [0] -> [4]",
        "group noise_0.4_cifar10: title"
        f" {today.groups['noise_0.4_cifar10'].title!r} -> 'Forty per cent'",
        "group noise_0.4_cifar10, row full, steeper: new",
        "group noise_0.4_cifar10, row weighted only: gone",
        "group noise_0.4_cifar10, row full: lr 0.1 -> 0.2",
        f"group another: new, {len(today.groups['radius_cifar10'].rows)} rows",
        "group ratio_cifar10: gone",
    ]


def test_what_a_scale_changes_is_said_once(tmp_path):
    larger = edited(tmp_path, scales=lambda c: c["smoke"].update(model="resnet20"))
    assert changes(experiments.load("smoke"), larger) == ["every row: model resnet8 -> resnet20"]


PUBLISHED = sorted(tables.with_name("study") for tables in Path("results").glob("*/tables"))


@pytest.mark.parametrize("folder", PUBLISHED, ids=str)
def test_the_published_study_differs_from_todays_as_its_report_says(folder, capsys):
    """Not that they are equal: a new group makes a line here, and no failure."""
    published = experiments.load(folder.parent.name, directory=folder)
    today = experiments.load(folder.parent.name)
    lines = changes(published, today)
    report.say_changes(today, folder)
    said = capsys.readouterr().err.splitlines()
    assert said[1:] == [f"  {line}" for line in lines]
    # and the words name what is there: each new group and each that is gone is in them
    for key in set(today.groups) ^ set(published.groups):
        assert any(line.startswith(f"group {key}: ") for line in lines)
