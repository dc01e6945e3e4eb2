"""The examples in docstrings run, whichever module of the package they stand in."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import robustfl

PACKAGE = Path(robustfl.__file__).parent
ROOMS = {"data", "evidence", "selection", "study", "training"}  # each shows a reader an example


def modules_with_examples() -> list[str]:
    """Names of the package's modules whose source has a line of an example."""
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text()]
    return [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in files]


def test_every_room_has_an_example():
    assert ROOMS <= {name.split(".")[1] for name in modules_with_examples()}


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_of_docstrings(name):
    results = doctest.testmod(import_module(name))
    assert results.attempted > 0
    assert results.failed == 0
