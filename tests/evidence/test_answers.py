"""The primary claims from planted records of several scales: each where it can be tested."""

import json

import pandas as pd
import pytest
from synthetic import curves, metrics

from robustfl.evidence import answers, paired_tests
from robustfl.evidence.claims import Outcome
from robustfl.evidence.report import answers as pages
from robustfl.study import experiments, record

IMAGES = {"rung_1600": 1600, "rung_5000": 5000, "rung_15000": 15000}
GAIN = {"rung_1600": 4.0, "rung_5000": 3.0, "rung_15000": 2.0}


def plant(folder, scale, seeds, learnt, group="ladder"):
    """Runs of a group: the released FL is better by the scale's gain, random as good as full."""
    known = experiments.load(scale, {"groups": [group], "seeds": list(range(seeds))})
    for name, spec in known.specs.items():
        better = GAIN.get(scale, 5.0) * (spec.method == "centrality")
        best = 50.0 + 0.3 * spec.seed + better + 0.1 * (spec.seed % 2) * (spec.method == "full")
        rows = curves(spec, best, best - 2, learnt)
        made = metrics(name, spec, rows)
        made["provenance"] |= {"train_points": IMAGES.get(scale, 100), "heldout_points": 0}
        timings = [
            {"epoch": r["epoch"], "select": 0.1, "train": 0.2, "evaluate": 0.1, "energy": None}
            for r in rows
        ]
        record.write(folder / scale / "runs" / name, spec, made, rows, timings)
    return {"results": str(folder)}


def of(found, key="noise_0.4", part="FL weighted (released) − full"):
    return next(a for a in found if a.place[1:] == (key, part))


def test_a_claim_is_answered_at_the_largest_scale_that_tests_it(tmp_path):
    plant(tmp_path, "rung_1600", 3, 80.0)
    plant(tmp_path, "rung_5000", 3, 50.0)
    config = plant(tmp_path, "rung_15000", 3, 10.0)  # nobody learns the false labels there
    everywhere = answers.at_every_scale(config)
    answer = of(answers.answers(everywhere))
    assert (answer.scale.name, answer.images) == ("rung_5000", 5000)
    assert answer.verdict.outcome is Outcome.BY_SELECTION
    assert answer.verdict.estimate.mean == pytest.approx(3.0, abs=0.1)
    largest = [a for a in everywhere if a.place[1:] == answer.place[1:]][0]
    assert largest.images == 15000 and "10 % of the false labels" in largest.verdict.reason


def test_one_seed_answers_nothing_where_another_scale_has_more(tmp_path):
    plant(tmp_path, "rung_1600", 2, 80.0)
    config = plant(tmp_path, "rung_5000", 1, 80.0)
    assert of(answers.answers(answers.at_every_scale(config))).scale.name == "rung_1600"


def test_where_nothing_tests_it_the_largest_scale_says_why(tmp_path):
    plant(tmp_path, "rung_1600", 2, 20.0)
    config = plant(tmp_path, "rung_5000", 2, 10.0)
    answer = of(answers.answers(answers.at_every_scale(config)))
    assert answer.scale.name == "rung_5000" and not answer.tests
    assert answer.verdict.outcome is Outcome.NOT_TESTABLE


def test_a_scale_that_warns_says_nothing(tmp_path):
    config = plant(tmp_path, "smoke", 2, 80.0, group="noise_0.4_cifar10")
    assert answers.at_every_scale(config) == []
    with pytest.raises(ValueError, match="results must hold finished runs of a primary claim"):
        pages.make(config, tmp_path / "answers")
    assert not (tmp_path / "answers").exists()


def test_the_answers_are_corrected_as_one_family(tmp_path):
    """Two scales answer: each p counts the tests of both, not those of its own scale."""
    plant(tmp_path, "laptop", 3, 80.0, group="noise_0.2_cifar10")
    config = plant(tmp_path, "rung_5000", 3, 80.0)
    everywhere = answers.at_every_scale(config)
    chosen = answers.answers(everywhere)
    assert {a.scale.name for a in chosen} == {"laptop", "rung_5000"}
    tests = [a.verdict.p for a in chosen]
    assert [a.verdict.p_holm for a in chosen] == pytest.approx(paired_tests.holm(tests))
    own = [a.verdict.p_holm for a in everywhere if a.scale.name == "laptop"]
    assert own != [a.verdict.p_holm for a in chosen if a.scale.name == "laptop"]


def test_page_table_and_figure_say_what_was_planted(tmp_path):
    plant(tmp_path, "rung_1600", 3, 80.0)
    config = plant(tmp_path, "rung_5000", 3, 80.0)
    pages.make(config, tmp_path / "answers")
    text = (tmp_path / "answers/answers.md").read_text(encoding="utf-8")
    first, _, rest = text.partition("## At every scale")
    line = next(x for x in first.splitlines() if "(released) − full" in x)
    assert "(rung_5000, 5,000 images, 3 seeds)" in line
    assert "reproduced by selection" in line and "+2.9" in line
    assert "(rung_1600, 1,600 images, 3 seeds)" in rest

    frame = pd.read_csv(tmp_path / "answers/answers.csv")
    asked = frame[(frame.claim == "noise_0.4") & (frame.rule == "released")]
    assert dict(zip(asked.scale, asked.answers)) == {"rung_5000": True, "rung_1600": False}

    said = json.loads((tmp_path / "answers/answers.json").read_text(encoding="utf-8"))
    assert len(said) == first.count("\n- ") and all("where" in entry for entry in said)
    assert (tmp_path / "answers/answers.svg").read_text(encoding="utf-8").count("5,000 images") >= 2
