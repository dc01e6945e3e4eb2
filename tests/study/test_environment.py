"""constraints.txt, environment.yml and pyproject.toml say the same."""

import re
import subprocess
import tomllib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml


def pins() -> dict[str, str]:
    lines = [
        x for x in Path("constraints.txt").read_text().splitlines() if x and not x.startswith("#")
    ]
    return dict(line.split("==") for line in lines)


def test_conda_and_pip_pin_the_same():
    listed = yaml.safe_load(Path("environment.yml").read_text())["dependencies"]
    (by_pip,) = (entry["pip"] for entry in listed if isinstance(entry, dict))
    assert dict(line.split("==") for line in by_pip) == pins()


def test_everything_the_package_asks_for_is_pinned():
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    asked = sum(project["optional-dependencies"].values(), project["dependencies"])
    names = {re.split(r"[<>=!~\[]", line)[0].lower() for line in asked}
    assert names <= {name.lower() for name in pins()}


def test_torch_is_the_pair_that_fits():
    assert (pins()["torch"], pins()["torchvision"]) == ("2.13.0", "0.28.0")


OPTIONAL = pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is absent")


@pytest.mark.parametrize("package", ["mypy", pytest.param("tensorboard", marks=OPTIONAL)])
def test_what_a_tool_asks_for_is_pinned(package):
    asked = metadata.requires(package) or []
    always = [line for line in asked if "extra ==" not in line and "python_version" not in line]
    names = {re.split(r"[<>=!~\[; ]", line)[0].lower().replace("-", "_") for line in always}
    assert names <= {name.lower().replace("-", "_") for name in pins()}


def test_make_alone_prints_a_line_for_every_target():
    # a make that calls the tests would have this one print the folder it enters
    command = ["make", "--no-print-directory"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    listed = [line.split()[1] for line in shown.splitlines()]
    declared = re.findall(r"^\.PHONY: (.*)$", Path("Makefile").read_text(), re.MULTILINE)
    assert declared and listed == " ".join(declared).split()
