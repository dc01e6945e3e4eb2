"""The ladder from planted records: differences, trends and words are those that were planted."""

import re

import pytest
from synthetic import curves, metrics

from robustfl.evidence import ladder, paired_tests
from robustfl.evidence.report import ladder as pages
from robustfl.study import experiments, record

SEEDS = {"rung_1600": 4, "rung_5000": 4, "desk": 2}
FADES = {
    "rung_1600": 6.0,
    "rung_5000": 3.0,
    "desk": 1.0,
}  # of the released rule over random, points


def plant(folder, scale, seeds, gain):
    """Records of the ladder's runs: gain(spec) is added to an accuracy.

    The accuracy wobbles with the seed.
    """
    known = experiments.load(scale, {"groups": [ladder.GROUP], "seeds": list(range(seeds))})
    for name, spec in known.specs.items():
        best = 50.0 + 0.3 * spec.seed + gain(spec)
        rows = curves(spec, best, best - 2)
        for row in rows[::10]:
            row |= {
                "fit": 50.0,
                "fit_true": 70.0,
                "fit_false": 20.0 if spec.method == "full" else 5.0,
            }
        rows[-1] |= {
            "fit": 50.0,
            "fit_true": 90.0,
            "fit_false": 80.0 if spec.method == "full" else 10.0,
        }
        timings = [
            {"epoch": r["epoch"], "select": 0.1, "train": 0.2, "evaluate": 0.1, "energy": None}
            for r in rows
        ]
        record.write(folder / scale / "runs" / name, spec, metrics(name, spec, rows), rows, timings)


@pytest.fixture
def config(tmp_path):
    for scale, seeds in SEEDS.items():
        gains = {
            "centrality": lambda s, g=FADES[scale]: g + 0.1 * (s.seed % 2),
            "facility_location": lambda s, g=FADES[scale]: -g - 0.1 * (s.seed % 2),
        }
        plant(
            tmp_path,
            scale,
            seeds,
            lambda s, gains=gains: gains[s.method](s) if s.method in gains else 0.0,
        )
    return {"results": str(tmp_path)}


def test_rungs_are_the_scales_with_images_smallest_first(config):
    rungs = ladder.climb(config)
    assert [rung.scale.images for rung in rungs] == [1600, 5000, 50000]
    assert [len(rung.records[rung.row("full")]) for rung in rungs] == [4, 4, 2]


def test_differences_are_those_planted(config):
    found = ladder.steps(ladder.climb(config))
    released = ladder.of_row(found, "FL weighted (released)", "random", "last_top1")
    assert [len(s.values) for s in released] == [4, 4, 2]
    for step, gain in zip(released, FADES.values()):
        assert step.estimate.mean == pytest.approx(gain + 0.05)
        assert step.estimate.low < gain + 0.05 < step.estimate.high
        assert step.slides is None
    said = {s.label: s.slides for s in found if s.reference == "full" and s.measure == "best_top1"}
    assert said["FL weighted"] == pytest.approx(85.16 - 83.20) and said[
        "weighted only"
    ] == pytest.approx(84.18 - 83.20)


def test_a_run_that_is_missing_is_left_out(config, tmp_path):
    (tmp_path / "rung_1600/runs/cifar10-robust-symmetric0.4-random0.4-seed3/metrics.json").unlink()
    released = ladder.of_row(
        ladder.steps(ladder.climb(config)), "FL weighted (released)", "random", "last_top1"
    )
    assert [len(s.values) for s in released] == [3, 4, 2]


def step(images, values):
    values = tuple(values)
    return ladder.Step(
        images, "r", "r", "full", "last_top1", values, paired_tests.estimate(values), None
    )


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        ([1.0, 1.1, 0.9], [5.0, 5.1, 4.9], "grows"),
        ([-1.0, -1.1, -0.9], [-5.0, -5.1, -4.9], "grows"),
        ([5.0, 5.1, 4.9], [1.0, 1.1, 0.9], "fades"),
        ([5.0, 5.1, 4.9], [-1.0, -1.1, -0.9], "turns"),
        ([5.0, 1.0, 3.0], [4.0, 2.0, 3.5], "no trend decided"),
        ([5.0], [1.0, 1.1], "no trend decided"),
    ],
)
def test_trend_is_a_welch_test_between_the_ends(low, high, word):
    assert ladder.trend([step(1600, low), step(5000, [0.0, 9.0]), step(50000, high)])[0] == word


def test_welch_interval_covers_the_truth_as_often_as_it_says():
    import numpy as np

    generator, inside = np.random.default_rng(0), 0
    for _ in range(2000):
        e = ladder.welch(tuple(generator.normal(1, 1, 5)), tuple(generator.normal(0, 2, 3)))
        inside += e.low <= 1 <= e.high
    assert 0.93 <= inside / 2000 <= 0.97


def test_page_figure_and_table_say_what_was_planted(config, tmp_path):
    pages.make(config, tmp_path / "ladder")
    page = (tmp_path / "ladder/ladder.md").read_text()
    line = next(
        text for text in page.splitlines() if text.startswith("- **FL weighted (released)**")
    )
    assert "the effect fades" in line and "+6.05 [" in line
    assert "decidedly above it at 1,600, 5,000" in line
    exact = next(text for text in page.splitlines() if text.startswith("- **FL weighted (exact)**"))
    assert "decidedly below it at 1,600, 5,000" in exact and "above" not in exact
    other = next(
        text for text in page.splitlines() if text.startswith("- **full, another shuffle**")
    )
    assert "neither side" in other and "no trend" in other
    assert re.search(r"\| 50,000 \| full \| 2 \| 90.0 \| 80.0 \|", page)
    assert "80.0 % on 1,600 images" in page

    first = (tmp_path / "ladder/ladder.svg").read_bytes()
    pages.make(config, tmp_path / "ladder")
    assert (tmp_path / "ladder/ladder.svg").read_bytes() == first
    assert (tmp_path / "ladder/ladder.csv").read_text().count("\n") == 1 + 3 * 2 * 2 * 6


def test_without_a_run_it_says_so(tmp_path):
    with pytest.raises(ValueError, match="results must hold a finished run of the ladder"):
        pages.make({"results": str(tmp_path)}, tmp_path / "ladder")


def test_one_seed_per_rung_decides_nothing():
    climbed = [step(1600, [5.0]), step(5000, [-5.0])]
    assert pages.verdict(climbed) == (
        "a trend needs two seeds at both ends; one seed per rung decides no sign."
    )
