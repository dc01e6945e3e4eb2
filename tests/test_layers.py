"""Imports go down only: a room may import itself and the rooms that its line names."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

BASE = {
    "",
    "rng",
    "files",
    "machine",
    "cuda",
}  # "": the package itself, for its version and public names
ROOMS = {  # room -> the rooms it may import
    "data": set(),
    "selection": set(),
    "study": {"data", "selection"},  # the names a run may give, of their registries
    "training": {"study", "data", "selection"},
    "execution": {"study", "data", "selection", "training"},
    "evidence": {"study", "data"},
    "cli": {"study", "data", "selection", "training", "execution", "evidence"},
    "__main__": {"cli"},
}
FILES = sorted(Path("robustfl").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Rooms of robustfl that a file imports, at top level or in functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if parts[0] == "robustfl":
                found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [a.name.split(".") for a in node.names]
            found |= {(name[1] if len(name) > 1 else "") for name in names if name[0] == "robustfl"}
    return found


def room(path: Path) -> str:
    """The room of a file; a file that lies in none stands for itself."""
    return path.parts[1] if len(path.parts) > 2 else path.stem


@pytest.mark.parametrize("path", [f for f in FILES if f != Path("robustfl/__init__.py")], ids=str)
def test_imports_go_down_only(path):
    own = room(path)
    assert own in ROOMS or own in BASE, f"{own} is no room: add it to ROOMS"
    up = imported(path) - BASE - {own} - ROOMS.get(own, set())
    assert not up, f"{path} imports {sorted(up)}, which {own} may not"


def test_rooms_form_no_circle():
    left = dict(ROOMS)
    while left:
        lowest = [name for name, below in left.items() if not below & set(left)]
        assert lowest, f"{sorted(left)} import each other in a circle"
        for name in lowest:
            del left[name]


@pytest.mark.parametrize(
    "module",
    ["study.experiments", "study.record", "study.packed", "rng", "data", "selection", "cli"]
    + [
        "evidence.tables",
        "evidence.figures",
        "evidence.claims",
        "evidence.report",
        "evidence.ladder",
    ],
)
def test_modules_that_must_not_import_torch(module):
    code = f"import sys, robustfl.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_training_needs_torch_and_numpy_alone():
    """Training runs on a bare GPU host, which has none of the packages named here."""
    code = """
import sys
absent = "numba yaml pandas rich scipy PIL torchvision snakemake matplotlib"
for name in absent.split():
    sys.modules[name] = None
from robustfl.execution import run
from robustfl.study.run_spec import RunSpec
import tempfile
spec = RunSpec(use_sample=True, train_size=60, test_size=20, model="resnet8", epochs=1,
               batch_size=32, method="facility_location", ratio=0.5)
options = run.Options(device="cpu", cache=tempfile.mkdtemp())
m = run.run_to_record(spec, tempfile.mkdtemp(), "bare", options)
assert m["backwards"] == 30, m
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
