"""`robustfl records`: pack, unpack and list, over whatever scales the results have."""

import shutil
from pathlib import Path

import pytest
from synthetic import write_study

from robustfl.cli import main
from robustfl.evidence import tables
from robustfl.study import experiments, packed, record

GROUP = "radius_cifar10"
BASE = "cifar10-robust-symmetric0.4-full-ball1"


@pytest.fixture
def planted(tmp_path):
    """A study of two seeds (best 50 + seed, last 45, 3.5 s on one thread), and its results."""
    known = experiments.load("smoke", {"groups": [GROUP], "seeds": [0, 1]})
    write_study(tmp_path, known, lambda spec: (50.0 + spec.seed, 45.0))
    return known, tmp_path / "results"


def call(results: Path, *words: str) -> int:
    settings = (f"results={results}", f"groups=[{GROUP}]", "seeds=[0, 1]")
    return main(["records", *words, *(w for s in settings for w in ("--set", s))])


def files(results: Path) -> dict[Path, bytes]:
    found = (path for path in (results / "smoke/runs").rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in found}


def test_pack_and_unpack_give_the_same_files(planted, capsys):
    known, results = planted
    before, count = files(results), len(known.specs)
    assert call(results, "pack", "--scale", "smoke", "--remove") == 0
    assert f"{count} of {count} runs packed" in capsys.readouterr().out
    assert not files(results) and len(list((results / "smoke/records").iterdir())) == count
    assert set(tables.gather(known, {"results": str(results)}).records) == set(known.specs)

    assert call(results, "unpack", "--scale", "smoke", f"{BASE}-seed1") == 0
    assert {path.parent.name for path in files(results)} == {f"{BASE}-seed1"}
    assert call(results, "unpack", "--scale", "smoke") == 0
    assert f"{count - 1} runs unpacked" in capsys.readouterr().out
    assert files(results) == before


def test_pack_leaves_what_is_unfinished_and_stops_at_what_is_stale(planted, capsys):
    known, results = planted
    unfinished, stale = list(known.specs)[0], list(known.specs)[1]
    (results / "smoke/runs" / unfinished / "metrics.json").unlink()
    metrics = results / "smoke/runs" / stale / "metrics.json"
    metrics.write_text(metrics.read_text().replace(known.spec(stale).hash, "0" * 16))
    assert call(results, "pack", "--scale", "smoke", "--remove") == 1
    assert stale in capsys.readouterr().err and metrics.exists()
    shutil.rmtree(metrics.parent)
    assert call(results, "pack", "--scale", "smoke") == 0
    assert f"{len(known.specs) - 2} of {len(known.specs)} runs" in capsys.readouterr().out
    assert files(results)  # without --remove


def test_list_has_a_line_a_setting_of_every_scale(planted, capsys):
    known, results = planted
    call(results, "pack", "--scale", "smoke")
    shutil.copytree(results / "smoke/records", results / "quick/records")
    capsys.readouterr()
    assert call(results, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    mine = next(line.split() for line in lines if line.startswith(f"smoke  {BASE} "))
    assert mine[:4] == ["smoke", BASE, "0,", "1"]
    assert mine[-5:] == ["fp32", "0000000", "0.00", "50.50", "45.00"]
    assert all("  2026-02-01 to 2026-02-03  Test processor  " in line for line in lines[1:-1])
    assert sum(line.startswith("quick") for line in lines) == len(known.specs) / 2
    runs = 2 * len(known.specs)
    assert lines[-1] == f"{runs} runs in {runs // 2} lines, {runs * 3.5 / 3600:.2f} core-hours."

    assert call(results, "list", "--scale", "quick", "--markdown") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| scale | run |")
    assert len({line.count("|") for line in lines[:-2]}) == 1
    assert lines[-1].startswith(f"{len(known.specs)} runs")


def test_list_keeps_settings_of_one_name_apart(planted, capsys):
    known, results = planted
    call(results, "pack", "--scale", "smoke", "--remove")
    short = experiments.load("smoke", {"groups": [GROUP], "seeds": [0, 1], "epochs": 2})
    write_study(results.parent, short)
    capsys.readouterr()
    call(results, "list")
    out = capsys.readouterr().out
    assert out.count(f" {BASE} ") == 2 and f"{2 * len(known.specs)} runs" in out


def test_a_broken_record_is_named(planted, capsys):
    known, results = planted
    call(results, "pack", "--scale", "smoke")
    path = results / "smoke/records" / f"{BASE}-seed0.json"
    path.write_text(path.read_text()[:300])
    assert call(results, "list") == 1
    assert path.name in capsys.readouterr().err
    with pytest.raises(record.RecordError, match=path.name):
        packed.read_file(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "--scale", "none"], "--scale must be a folder of"),
        (["unpack", "--scale", "smoke", "../x"], "run must have a packed record in"),
    ],
)
def test_bad_input_is_status_2(planted, capsys, words, message):
    assert call(planted[1], *words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_page_of_runs_is_that_of_the_committed_records(capsys):
    assert main(["records", "list", "--markdown"]) == 0
    listed = capsys.readouterr().out
    page = Path("docs/runs.md").read_text()
    # a smoke study beside the committed records is no part of the page
    kept = [line for line in listed.splitlines() if not line.startswith("| smoke |")]
    assert page.splitlines()[4:-1] == kept[:-1]
