"""The joint fit of data covered and accuracy lost finds the reading that was planted."""

import pytest
from synthetic import curves, metrics

from robustfl.evidence import readings
from robustfl.evidence.report import readings as pages
from robustfl.study import experiments, record

WANTED = readings.Reading(
    "centrality", 13, 1, "gradient"
)  # the first drop of the rate, at 40 epochs


@pytest.fixture
def config(tmp_path):
    """Records of every run.

    The planted reading has the slides' numbers, all others are 5 points and more away.
    """
    config = experiments.read_yaml(experiments.CONFIG_DIR / "config.yaml") | {
        "results": str(tmp_path)
    }
    known = experiments.load(readings.SCALE, config | {"groups": list(readings.GROUPS)})
    slides = experiments.read_yaml(experiments.CONFIG_DIR / "slides.yaml")
    for key, table in readings.GROUPS.items():
        for name in {name for row in known.groups[key].rows for name in row.names}:
            spec = known.spec(name)
            said = slides[table]["100%" if spec.method == "full" else f"{100 * spec.ratio:.0f}%"]
            planted = spec.method == "full" or readings.Reading.of(spec) == WANTED
            best = said["best"] - (0 if planted else 5)
            rows = curves(spec, best, best)
            made = metrics(name, spec, rows)
            made["covered"] = said["covered"] if planted else max(0.0, said["covered"] - 0.2)
            timings = [
                {"epoch": r["epoch"], "select": 0.1, "train": 0.2, "evaluate": 0.1, "energy": None}
                for r in rows
            ]
            record.write(tmp_path / known.scale / "runs" / name, spec, made, rows, timings)
    return config


def test_every_combination_is_a_reading_and_the_planted_one_wins(config):
    found = readings.fits(config)
    assert len(found) == 2 * (2 * 4 * 3 + 1) and all(fit.whole for fit in found)
    assert found[0].reading == WANTED and found[0].off < 0.01
    assert min(fit.covered_off for fit in found[1:]) == pytest.approx(20)
    assert min(fit.lost_off for fit in found[1:]) == pytest.approx(5)
    assert found[1].off == pytest.approx(((20**2 + 5**2) / 2) ** 0.5)


def test_the_page_names_it(config, tmp_path):
    pages.make(config, tmp_path / "out")
    page = (tmp_path / "out/readings.md").read_text()
    assert "50 of 50 readings begun are whole" in page
    assert "**released rule, gradient, every epoch, from epoch 13** (0.0 points off" in page
    assert "| cifar10 | 20 % | 40.0 | 40 | −12.29 | −12.29 |" in page
    assert (tmp_path / "out/readings.csv").read_text().count("\n") == 51
    assert (tmp_path / "out/readings.svg").stat().st_size > 1000


def test_a_reading_with_numbers_missing_cannot_win(config, tmp_path):
    name = "cifar10-speed-centrality0.2-warmup60-seed0"
    (tmp_path / "readings/runs" / name / "metrics.json").unlink()
    found = readings.fits(config)
    assert found[-1].reading == WANTED and not found[-1].whole
    pages.make(config, tmp_path / "out")
    assert "49 of 50" in (tmp_path / "out/readings.md").read_text()


def test_without_a_run_it_says_so(tmp_path):
    config = experiments.read_yaml(experiments.CONFIG_DIR / "config.yaml") | {
        "results": str(tmp_path)
    }
    with pytest.raises(ValueError, match="results must hold a finished run of the readings"):
        pages.make(config, tmp_path / "out")
