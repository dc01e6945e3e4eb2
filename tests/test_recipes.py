"""The recipes of CONTRIBUTING.md, made as they stand there in a copy of the project.

What they add is planned, trained and gathered.
"""

import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from project_copy import copy_project, run_in

ROOT = Path(__file__).parents[1]
STEP = re.compile(
    r"^`([^`]+)`, (new|at the end|among the imports|in `([^`]+)`|before `([^`]+)`):\n\n"
    r"```\w+\n(.*?)^```$",
    re.M | re.S,
)


def recipes() -> list[tuple[str, str, str, str]]:
    """(file, how, at, text) of every edit of the page, in order."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    found = [(m[1], m[2].split(" `")[0], m[3] or m[4] or "", m[5]) for m in STEP.finditer(page)]
    assert len(found) == page.count("```python") + page.count("```yaml"), (
        "an edit whose place is not said"
    )
    return found


def edit(text: str, how: str, at: str, block: str) -> str:
    """The file's text with a recipe's block put in its place, which must be there once."""
    if how == "at the end":
        return text + block
    lines = text.splitlines(keepends=True)
    if how == "among the imports":
        places = [i for i, line in enumerate(lines) if line.startswith("from robustfl")][:1]
    else:
        start = at
        places = [i for i, line in enumerate(lines) if line.startswith(start)]
    assert len(places) == 1, (
        f"{at or 'imports'} must be in the file once; it is {len(places)} times"
    )
    where = places[0] + (how == "in")
    lines.insert(where, block)
    return "".join(lines)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the tracked files with every recipe made."""
    target = copy_project(tmp_path_factory.mktemp("recipes") / "a copy")
    for name, how, at, block in recipes():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert path.exists() == (how != "new"), name
        path.write_text(block if how == "new" else edit(path.read_text(), how, at, block))
    run_in(target, sys.executable, "scripts/draw_sample.py", "gratings")
    return target


def test_the_recipes_plan_train_and_gather(project):
    target = ["snakemake", "--cores", "2", "report/summary.pdf", "--config", "scale=pocket"]
    assert run_in(project, *target, "-n").count("rule train:") == 8
    run_in(project, *target)
    table = pd.read_csv(project / "results/pocket/tables/recipes.csv").set_index("row")
    assert list(table.index) == ["full", "k-center", "clipped"] and (table.seeds == 2).all()
    verdicts = pd.read_csv(project / "results/pocket/tables/verdicts.csv")
    assert {"recipes_k_center", "recipes_memorised"} <= set(verdicts.claim)
    assert "memorised" in set(verdicts.measure)
    assert (project / "results/pocket/figures/recipes.svg").exists()
    gratings = pd.read_csv(project / "results/pocket/tables/gratings.csv")
    assert (gratings.seeds == 2).all() and (gratings.best_top1 > 0).all()


def test_the_added_code_passes_the_conformance_tests_and_the_gates(project):
    words = ["-m", "pytest", "-q", "tests/selection/test_selection.py", "tests/test_layers.py"]
    run_in(
        project,
        sys.executable,
        *words,
        "-k",
        "k_center or clipped or label_noise or registry or names",
    )
    new = [name for name, how, *_ in recipes() if how == "new"]
    run_in(project, sys.executable, "-m", "ruff", "check", *new)
    run_in(project, sys.executable, "-m", "ruff", "format", "--check", *new)
