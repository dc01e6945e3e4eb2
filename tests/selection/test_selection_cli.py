"""`robustfl select` writes one whole file, or none and a line that says why."""

import argparse
import subprocess
import sys

import numpy as np
import pytest

import robustfl
from robustfl.selection import cli


@pytest.fixture
def files(tmp_path):
    r = np.random.default_rng(0)
    points, labels = r.normal(size=(40, 3)).astype(np.float32), r.integers(0, 2, 40)
    np.save(tmp_path / "X.npy", points), np.save(tmp_path / "y.npy", labels)
    (
        np.save(tmp_path / "nan.npy", points * np.nan),
        np.save(tmp_path / "object.npy", points.astype(object)),
    )
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY\x01\x00")
    return tmp_path, points, labels


def run(folder, *arguments):
    command = [
        sys.executable,
        "-m",
        "robustfl",
        "select",
        "--out",
        str(folder / "a b.npz"),
        *map(str, arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True)


def test_writes_what_select_returns(files):
    folder, points, labels = files
    done = run(
        folder,
        "--points",
        folder / "X.npy",
        "--labels",
        folder / "y.npy",
        "--ratio",
        0.3,
        "--radius",
        1.5,
        "--method",
        "centrality",
    )
    assert done.returncode == 0, done.stderr
    expected = robustfl.select(points, labels, method="centrality", ratio=0.3, radius=1.5)
    with np.load(folder / "a b.npz") as written:
        assert sorted(written) == ["gains", "indices", "weights"]
        for name in written:
            assert np.array_equal(written[name], getattr(expected, name))


BAD = {
    "ratio must be in (0, 1]; got 1.4": ["X.npy", "--ratio", 1.4],
    "method must be one of": ["X.npy", "--ratio", 0.5, "--method", "best"],
    "radius must be a finite number >= 0; got -1.0": ["X.npy", "--ratio", 0.5, "--radius", -1],
    "points must be finite; got nan": ["nan.npy", "--ratio", 0.5],
    "object.npy must be a readable .npy file": ["object.npy", "--ratio", 0.5],
    "broken.npy must be a readable .npy file": ["broken.npy", "--ratio", 0.5],
    "absent.npy must be a readable .npy file": ["absent.npy", "--ratio", 0.5],
}


def test_bad_input_is_one_line_and_no_file(files, capsys):
    folder = files[0]
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    before = sorted(folder.iterdir())
    for message, (points, *rest) in BAD.items():
        arguments = [
            "--out",
            str(folder / "sel.npz"),
            "--points",
            str(folder / points),
            *map(str, rest),
        ]
        assert cli.main(parser.parse_args(arguments)) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
        assert sorted(folder.iterdir()) == before


def test_bad_input_ends_the_command_with_status_2(files):
    folder = files[0]
    done = run(folder, "--points", folder / "X.npy", "--ratio", 1.4)
    assert done.returncode == 2 and done.stderr.strip().endswith("ratio must be in (0, 1]; got 1.4")
    assert "Traceback" not in done.stderr and not (folder / "a b.npz").exists()


def test_a_full_or_absent_folder_leaves_nothing(files):
    folder = files[0]
    done = run(folder / "absent", "--points", folder / "X.npy", "--ratio", 0.5)
    assert (
        done.returncode == 2
        and len(done.stderr.splitlines()) == 1
        and not (folder / "absent").exists()
    )
