"""Imports go down only: a module may import its own layer and those below."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

LAYERS = [  # a package stands for all its modules
    {"spec", "rng", "streams"},
    {"study", "record", "packed", "checkpoint", "noise", "models", "data", "augment", "progress", "energy"},
    {"inference", "gradients", "selection"},
    {"metrics", "steps", "graph_steps", "reweight", "raw_clusters", "train", "sampler", "provenance", "precision"},
    {"choose", "run"},
    {"tables", "figures", "claims", "statistics", "ladder", "readings", "report", "records", "campaign", "worker", "server", "cli", "__main__"},
]
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}
FILES = sorted(Path("robustfl").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Modules or packages of robustfl that a file imports, at top level or in functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if parts[0] == "robustfl":
                found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("robustfl.")}
    return found


def home(path: Path) -> str:
    return path.parts[1] if len(path.parts) > 2 else path.stem


@pytest.mark.parametrize("path", [f for f in FILES if f != Path("robustfl/__init__.py")], ids=str)
def test_imports_go_down_only(path):
    assert home(path) in LEVEL, f"{home(path)} has no layer: add it to LAYERS"
    up = {m for m in imported(path) if LEVEL.get(m, -1) > LEVEL[home(path)]}
    assert not up, f"{path} imports {up} from a higher layer"


@pytest.mark.parametrize(
    "module", ["spec", "rng", "study", "record", "packed", "records", "data", "selection", "tables", "figures", "claims", "report", "cli"]
)
def test_modules_that_must_not_import_torch(module):
    code = f"import sys, robustfl.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_training_needs_torch_and_numpy_alone():
    """A bare GPU host has no numba, yaml, pandas, rich, scipy, PIL, torchvision: training imports without them."""
    code = """
import sys
for name in ("numba", "yaml", "pandas", "rich", "scipy", "PIL", "torchvision", "snakemake", "matplotlib"):
    sys.modules[name] = None
import robustfl.run
from robustfl.spec import RunSpec
import tempfile
spec = RunSpec(sample=True, subset=60, test_subset=20, model="resnet8", epochs=1, batch_size=32,
               method="facility_location", ratio=0.5)
m = robustfl.run.run(spec, tempfile.mkdtemp(), "bare", robustfl.run.Options(device="cpu", cache=tempfile.mkdtemp()))
assert m["backwards"] == 30, m
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
