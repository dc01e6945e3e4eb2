"""The same results for other users, under other locales, and whatever the host has set."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import write_study

from robustfl.study import experiments

ROOT = Path(__file__).parents[1]
SELECTS = "cifar10-speed-set_cover0.8621-from_selector_weights-holdout0-feature-shuffled-seed0"
FULL = "cifar10-robust-symmetric0.4-full-seed0"


def call(*words, uid: int | None = None, **environment: str) -> subprocess.CompletedProcess:
    """`robustfl words`, as another user of the group 3000 where asked."""
    return python("-m", "robustfl", *words, uid=uid, **environment)


def python(*words, uid: int | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Python in the project's root, with nothing of this process's environment but the paths."""
    command = [sys.executable, *map(str, words)]
    if uid is not None:
        command = ["setpriv", f"--reuid={uid}", "--regid=3000", "--clear-groups", *command]
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    kept |= {"HOME": "/", "PYTHONDONTWRITEBYTECODE": "1"} | environment
    return subprocess.run(command, env=kept, cwd=ROOT, capture_output=True, encoding="utf-8")


# users


@pytest.fixture
def group_folder(public_folder):
    """A cache of a group, and a folder in which everybody has one of his own."""
    (public_folder / "tmp").mkdir()
    (public_folder / "tmp").chmod(0o1777)
    cache = public_folder / "cache"
    cache.mkdir()
    os.chown(cache, 0, 3000)
    cache.chmod(0o2775)
    return public_folder


def test_users_of_a_group_share_a_cache_that_may_become_read_only(group_folder):
    cache = group_folder / "cache"

    def train(name, uid, out):
        words = ("--scale", "smoke", "--no-worker", "--set", "epochs=1", "--set", f"cache={cache}")
        target = group_folder / "tmp" / out
        done = call("train", name, *words, "--out", target, uid=uid, TMPDIR=f"{group_folder}/tmp")
        assert done.returncode == 0, done.stdout + done.stderr
        assert (target / "metrics.json").exists()
        return done.stdout

    # the first user trains the model that the selection needs, the second one finds it
    assert "training the pretrained model" in train(SELECTS, 2001, "first")
    subprocess.run(["chmod", "-R", "a-w", str(cache)], check=True)
    before = sorted(path.name for path in cache.rglob("*"))
    assert "training the pretrained model" not in train(SELECTS, 2002, "second")
    assert "the model is not kept for other runs: cache must be" in train(FULL, 2002, "third")
    assert sorted(path.name for path in cache.rglob("*")) == before


# locales, and what a user set for plots

REPORT = """
import sys
from robustfl.cli import main
sys.exit(any(main(["report", what, *sys.argv[1:]]) for what in ("tables", "figures", "pdf")))
"""
PLOTS = "text.usetex: True\nfigure.dpi: 250\npath.sketch: 1, 100, 2\nbackend: none\n"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Synthetic records of one group, and the tables and figures made of them on this host."""
    folder = tmp_path_factory.mktemp("study")
    known = experiments.load("smoke", {"groups": ["noise_0.4_cifar10"], "seeds": [0]})
    config = write_study(folder, known)
    words = ["--scale", "smoke", "--set", "seeds=[0]", "--set", f"results={config['results']}"]
    return folder, [*words, "--set", 'groups=["noise_0.4_cifar10"]'], Path(config["results"])


def made(study, **environment: str) -> dict[str, bytes]:
    """Every file of the report but the records, made anew under an environment."""
    folder, words, results = study
    for part in ("tables", "figures", "study"):
        shutil.rmtree(results / "smoke" / part, ignore_errors=True)
    done = python("-c", REPORT, *words, "--out", folder / "summary.pdf", **environment)
    assert done.returncode == 0, done.stderr
    parts = [results / "smoke" / part for part in ("tables", "figures", "study")]
    files = [folder / "summary.pdf", *(path for part in parts for path in part.rglob("*.*"))]
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def plain(study):
    return made(study)


@pytest.mark.parametrize(
    ("source", "charset", "backend"),
    [
        ("de_DE", "ISO-8859-1", "module://matplotlib_inline.backend_inline"),
        ("zh_CN", "GBK", "nonsense"),
        ("ja_JP", "EUC-JP", ""),
    ],
)
def test_locale_backend_and_matplotlibrc_change_no_byte(
    study, plain, tmp_path, source, charset, backend
):
    name = f"{source}.{charset}"
    if not shutil.which("localedef"):
        pytest.skip("localedef is not installed")
    subprocess.run(["localedef", "-i", source, "-f", charset, str(tmp_path / name)])
    if not (tmp_path / name / "LC_CTYPE").exists():
        pytest.skip(f"the sources of {name} are not installed")
    (tmp_path / "matplotlibrc").write_text(PLOTS)
    theirs = {"MPLBACKEND": backend, "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    assert made(study, LOCPATH=str(tmp_path), LC_ALL=name, **theirs) == plain


def test_plain_ascii_and_a_notebook_s_backend_change_no_byte(study, plain):
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    inline = "module://matplotlib_inline.backend_inline"
    assert made(study, MPLBACKEND=inline, **ascii_only) == plain


# homes


def test_a_leading_tilde_is_a_home_folder_on_the_command_line(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    code = "import numpy as np; np.save('points.npy', np.eye(9))"
    subprocess.run([sys.executable, "-c", code], cwd=home, check=True)
    words = ("--points", "~/points.npy", "--ratio", "0.5", "--out", "~/picked.npz")
    done = call("select", *words, HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert (home / "picked.npz").exists() and not (ROOT / "~").exists()

    done = call("select", "--points", "~no-such-user/x.npy", "--ratio", "0.5", "--out", "x.npz")
    assert done.returncode == 2
    assert "argument --points: a path that begins with ~ must name a known home" in done.stderr
