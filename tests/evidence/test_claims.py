import dataclasses
import math
import shutil
from pathlib import Path

import pytest
import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate
from synthetic import POINTS, write_study

from robustfl.evidence import claims, tables
from robustfl.evidence.claims.measures import BUDGETS, MEASURES, within
from robustfl.evidence.paired_tests import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED
from robustfl.evidence.report import verdict_tables
from robustfl.study import experiments

NOISE = "noise_0.4_cifar10"


def gathered(
    folder, accuracy, seeds=(0, 1, 2), scale="laptop", groups=(NOISE,), change=lambda r: None
):
    known = experiments.load(scale, {"groups": list(groups), "seeds": list(seeds)})
    return tables.gather(known, write_study(folder, known, accuracy, change))


def weighted(gain):
    """FL weighted is `gain` points above the rest, a little differently in each seed.

    Seeds themselves differ by 5.
    """

    def accuracy(spec):
        better = spec.weights == "ball" and spec.method != "full"
        best = 50 + 5 * spec.seed + better * (gain + 0.1 * (spec.seed - 1))
        return best, best - 3

    return accuracy


def verdicts(g, key, **changes):
    claim = next(c for c in claims.load() if c.key == key)
    return claims.verdicts(g, [dataclasses.replace(claim, **changes)])


@pytest.mark.parametrize(
    "gain, verdict", [(2.0, REPRODUCED), (-2.0, NOT_REPRODUCED), (0.0, INCONCLUSIVE)]
)
def test_paired_seeds_find_what_is_planted(tmp_path, gain, verdict):
    found = verdicts(gathered(tmp_path, weighted(gain)), "noise_0.4_headline", budgets=("epochs",))
    assert {(v.comparison.rule, v.measure) for v in found} == {
        (r, m) for r in tables.GREEDY_VARIANTS for m in ("best_top1", "last_top1", "heldout_top1")
    }
    for v in found:
        assert (v.verdict, v.estimate.seeds) == (verdict, 3)
        assert v.estimate.mean == pytest.approx(gain, abs=0.01)
        # seeds differ by 5 points, which pairing takes out
        assert v.floor == pytest.approx(5.05, abs=0.2)
        assert (v.needed is None) == (verdict != INCONCLUSIVE)
        assert v.comparison.published == pytest.approx(1.96)


def test_one_seed_is_inconclusive_except_what_the_protocol_fixes(tmp_path):
    g = gathered(
        tmp_path, weighted(20.0), seeds=(0,), groups=(NOISE, "speed_cifar10", "analysis_cifar10")
    )
    for v in claims.verdicts(g):
        if v.measure in ("backwards", "forwards"):
            assert (
                v.verdict == (REPRODUCED if v.estimate.mean < 1 else NOT_REPRODUCED)
                and not v.reason
            ), v
        else:
            assert v.verdict == INCONCLUSIVE and v.reason, v
    assert {
        v.text
        for v in claims.verdicts(g)
        if v.measure == "best_top1" and v.reason.startswith("one")
    } == {"inconclusive (one seed)"}


def test_order_claims_expand_to_every_pair_under_both_rules(tmp_path):
    g = gathered(tmp_path, weighted(2.0))
    claim = next(c for c in claims.load() if c.key == "noise_0.4_order")
    parts = [(c.part, c.rule) for c in claims.comparisons(claim, g)]
    # six pairs; the one without FL is the same under both rules
    assert len(parts) == len(set(parts)) == 11
    assert ("weighted only − full", None) in parts
    assert ("FL weighted (released) − FL only (released)", "centrality") in parts


def test_equal_backward_passes_read_the_longer_run_early(tmp_path):
    """Accuracy grows with the epochs: full training at as few passes as FL is behind its end."""
    g = gathered(tmp_path, lambda s: (60.0 + s.seed, 60.0 + s.seed))
    by = {
        (v.budget, v.measure): v for v in verdicts(g, "noise_0.4_headline", rules=("centrality",))
    }
    assert by["epochs", "best_top1"].estimate.mean == pytest.approx(0.0)
    assert by["backwards", "best_top1"].estimate.mean > 10
    full = g.records["cifar10-robust-symmetric0.4-full-seed0"]
    limit = g.records["cifar10-robust-symmetric0.4-centrality0.4-ball2-seed0"].metrics["backwards"]
    seen = within(full, "backwards", limit)
    assert seen[-1]["backwards"] <= limit < seen[-1]["backwards"] + POINTS
    assert set(BUDGETS) == {"epochs", "backwards", "passes", "seconds"}


def test_held_out_epoch_is_chosen_without_the_test_set(tmp_path):
    g = gathered(tmp_path, weighted(0.0), seeds=(0,))
    record = g.records["cifar10-robust-symmetric0.4-full-seed0"]
    rows = [dict(row, heldout_acc=100.0 - row["epoch"]) for row in record.curves]
    assert (
        MEASURES["heldout_top1"].read(record, rows, g)
        == rows[0]["test_top1"]
        < MEASURES["best_top1"].read(record, rows, g)
    )


def test_values_are_held_against_the_slides(tmp_path):
    said = experiments.read_yaml(experiments.CONFIG_DIR / "slides.yaml")["speed_cifar10"]
    labels = {0.2: "20%", 0.4: "40%", 0.6: "60%", 0.8: "80%"}
    groups = ("speed_cifar10",)

    def change(made):  # exact: on the slides' numbers; released: ten points off
        ratio = next(
            (
                r
                for r in labels
                if f"location{r:g}-" in made["name"] or f"centrality{r:g}-" in made["name"]
            ),
            None,
        )
        if ratio:
            made["covered"] = (
                said[labels[ratio]]["covered"]
                + 0.1 * ("centrality" in made["name"])
                + 0.001 * int(made["name"][-1])
            )

    g = gathered(tmp_path, lambda s: (50.0, 50.0), groups=groups, change=change)
    found = verdicts(g, "cifar_covered")
    assert {v.comparison.rule: v.verdict for v in found} == {
        "facility_location": REPRODUCED,
        "centrality": NOT_REPRODUCED,
    }
    accuracy = verdicts(g, "accuracy_speed_cifar")
    assert {v.text for v in accuracy} == {"inconclusive (needs scale full)"}


def test_ablation_sizes_come_from_the_slides_changes(tmp_path):
    g = gathered(
        tmp_path,
        lambda s: (50.0 - 0.8 * (s.batch_order == "within_class"),) * 2,
        groups=("ablations_cifar10",),
    )
    found = {
        v.comparison.over.label + " > " + v.comparison.under.label: v
        for v in verdicts(g, "ablation_sizes")
        if v.measure == "best_top1"
    }
    shuffled = next(v for k, v in found.items() if k.endswith("shuffled within classes"))
    adam = next(v for k, v in found.items() if k.endswith("Adam"))
    assert (shuffled.comparison.published, shuffled.verdict) == (0.8, REPRODUCED)
    assert (adam.comparison.published, adam.verdict) == (1.0, NOT_REPRODUCED)


def test_claims_that_find_nothing_to_compare_are_left_out(tmp_path):
    g = gathered(tmp_path, weighted(1.0), groups=("radius_cifar10",))
    assert {v.comparison.claim.group for v in claims.verdicts(g)} == {"radius_cifar10"}


def test_every_claim_of_the_file_finds_its_rows(tmp_path):
    """On the whole study every claim has comparisons, known measures and bounds."""
    known = experiments.load("smoke", {"seeds": [0]})
    g = tables.gather(known, write_study(tmp_path, known))
    for claim in claims.load():
        assert claims.comparisons(claim, g), claim.key
        assert set(claim.measures) <= set(MEASURES), claim.key
        low, high = claim.bounds
        assert low < high and (math.isfinite(low) or math.isfinite(high))


@pytest.mark.parametrize("scale", ["smoke", "laptop", "full"])
def test_every_name_in_the_claims_is_known(scale):
    claims.check(experiments.load(scale))
    claims.check(experiments.load("laptop", directory=Path("results/laptop/study")))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"measures": ["best_topl"]}, "measures must be among best_top1, .*; got 'best_topl'"),
        ({"budgets": ["minutes"]}, "budgets must be among epochs, .*; got 'minutes'"),
        ({"rules": ["exact"]}, "rules must be among facility_location, .*; got 'exact'"),
        ({"group": "noise_cifar"}, "group must be among .*; got 'noise_cifar'"),
        ({"compare": [["FL wieghted", "full"]]}, "noise_0.4_cifar10 has no row 'FL wieghted'"),
    ],
)
def test_an_unknown_name_is_found_before_anything_runs(tmp_path, change, message):
    """Also where the study at hand leaves the claim's group out."""
    shutil.copytree("config", tmp_path / "config")
    path = tmp_path / "config/claims.yaml"
    written = yaml.safe_load(path.read_text())
    written["noise_0.4_headline"] |= change
    path.write_text(yaml.safe_dump(written))
    known = experiments.load("smoke", {"groups": ["radius_cifar10"]}, tmp_path / "config")
    with pytest.raises(experiments.StudyError, match=f"claim noise_0.4_headline: {message}"):
        claims.check(known)


def test_a_row_that_does_not_exist_is_named(tmp_path):
    g = gathered(tmp_path, weighted(1.0), seeds=(0,))
    with pytest.raises(
        experiments.StudyError, match="claim noise_0.4_headline.*no row 'FL wieghted'"
    ):
        verdicts(g, "noise_0.4_headline", compare=(("FL wieghted", "full"),))


def test_schema_refuses_unknown_keys():
    entry = {"says": "a", "slide": "b", "group": "c", "order": ["d", "e"]}
    validate({"ok": dict(entry)}, "workflow/schemas/claims.schema.yaml")
    for bad in (
        {"marign": 1},
        {"budgets": ["minutes"]},
        {"over": {"group": "c", "row": "d"}, "under": {"group": "c"}},
    ):
        with pytest.raises(WorkflowError):
            validate({"typo": entry | bad}, "workflow/schemas/claims.schema.yaml")
    written = yaml.safe_load(Path("config/claims.yaml").read_text(encoding="utf-8"))
    validate(written, "workflow/schemas/claims.schema.yaml")


def test_what_may_be_held_equal_is_written_once_more_in_the_schema():
    schema = yaml.safe_load(Path("workflow/schemas/claims.schema.yaml").read_text())
    budgets = schema["additionalProperties"]["properties"]["budgets"]["items"]["enum"]
    assert budgets == list(BUDGETS) == list(verdict_tables.EQUAL)


def test_every_measure_has_what_the_report_needs_of_it(tmp_path):
    g = gathered(tmp_path, weighted(1.0), seeds=(0,))
    record = next(iter(g.records.values()))
    for key, measure in MEASURES.items():
        assert measure.key == key and measure.name and measure.resolution(record) >= 0
    assert MEASURES["best_top1"].resolution(record) == 100 / 2000  # test images
    assert MEASURES["covered"].resolution(record) == 1 / POINTS
    assert MEASURES["seconds"].resolution(record) == 0


def test_a_claim_of_several_parts():
    assert claims.combined_verdict([REPRODUCED, REPRODUCED]) == REPRODUCED
    assert claims.combined_verdict([REPRODUCED, INCONCLUSIVE]) == INCONCLUSIVE
    assert claims.combined_verdict([INCONCLUSIVE, NOT_REPRODUCED]) == NOT_REPRODUCED


def test_energy_is_judged_where_the_device_reports_it(tmp_path):
    groups = ("speed_cifar10", "analysis_cifar10")
    silent = verdicts(
        gathered(tmp_path / "silent", weighted(0.0), groups=groups), "cifar_less_energy"
    )
    assert {(v.verdict, v.reason) for v in silent} == {(INCONCLUSIVE, "no such number")}

    def metered(metrics):
        metrics["energy"] = 2.0 * metrics["backwards"] + len(metrics["spec_hash"])

    told = verdicts(
        gathered(tmp_path / "told", weighted(0.0), groups=groups, change=metered),
        "cifar_less_energy",
    )
    assert len(told) == 8 and {v.verdict for v in told} == {REPRODUCED}
    # 20 % of the points, a constant beside
    assert told[0].estimate.mean == pytest.approx(0.2, abs=0.02)
