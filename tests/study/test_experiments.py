import copy
import math
import shutil
from pathlib import Path

import pytest
import yaml

from robustfl.selection import validation
from robustfl.study import config, experiments
from robustfl.study.run_spec import RunSpec


@pytest.fixture
def configs(tmp_path):
    """A copy of config/ and a function that rewrites one of its files."""
    shutil.copytree("config", tmp_path / "config")

    def edit(name, change):
        path = tmp_path / "config" / name
        content = yaml.safe_load(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content))
        return tmp_path / "config"

    return edit


@pytest.mark.parametrize("scale", experiments.scales())
def test_shared_runs_are_trained_once(scale):
    known = experiments.load(scale)
    hashes = [spec.hash for spec in known.specs.values()]
    assert len(set(hashes)) == len(hashes)
    shared = [n for n in known.specs if len(known.groups_of(n)) > 1]
    if len(known.groups) > 10:  # not the rungs of the ladder, nor the readings
        assert "cifar10-robust-symmetric0.4-full-ball2-seed0" in shared  # noise 0.4 and radius
        assert "cifar10-speed-facility_location0.6-seed0" in shared  # ratios and ablations


def test_settings_that_few_epochs_make_one_are_one_run():
    rows = {s: experiments.load(s).groups["interval_cifar10"].rows for s in ("smoke", "full")}
    assert len({row.names for row in rows["full"]}) == 8
    assert {row.names[0] for row in rows["smoke"]} == {
        f"cifar10-speed-{m}0.2-seed0" for m in ("facility_location", "centrality")
    }


def test_every_table_of_the_slides_has_its_rows():
    known = experiments.load("full")
    slides = experiments.read_yaml(Path("config/slides.yaml"))
    for key, rows in slides.items():
        assert set(rows) <= {row.label for row in known.groups[key].rows}, key


def test_slides_numbers_stand_in_the_slides():
    """A few values as typed here from the slides: a slip of the keyboard in slides.yaml shows."""
    slides = experiments.read_yaml(Path("config/slides.yaml"))
    assert [v["best"] for v in slides["speed_cifar10"].values()] == [
        80.79,
        85.17,
        89.16,
        91.76,
        93.08,
    ]
    assert [v["best"] for v in slides["speed_fashion_mnist"].values()] == [
        90.68,
        90.71,
        91.17,
        91.45,
        93.12,
    ]
    assert slides["noise_0.4_cifar10"]["FL weighted"]["best"] == 85.16
    assert slides["noise_0.2_cifar10"]["full"]["best"] == 87.22


def test_full_scale_is_the_protocol():
    spec = experiments.load("full").spec("cifar10-speed-facility_location0.4-seed0")
    assert (spec.model, spec.epochs, spec.batch_size, spec.milestones, spec.gamma) == (
        "resnet32",
        200,
        32,
        (60, 90, 120, 160),
        0.3,
    )
    assert (spec.use_sample, spec.train_size, spec.batch_order, spec.ratio) == (
        False,
        0,
        "greedy",
        0.4,
    )
    robust = experiments.load("full").spec(
        "cifar10-robust-symmetric0.4-facility_location0.4-ball2-seed0"
    )
    assert (robust.epochs, robust.batch_size, robust.lr, robust.milestones, robust.warmup) == (
        120,
        128,
        0.1,
        (80, 100),
        5,
    )


def test_cluster_counts_of_set_cover_are_the_slides():
    known = experiments.load("full")
    counts = {
        round(50000 * known.spec(n).ratio)
        for n in known.specs
        if known.spec(n).method == "set_cover"
    }
    assert counts == {43105, 38964, 43334, 39715}


def test_fewer_epochs_shrink_the_schedule():
    spec = experiments.load("full", {"epochs": 20}).spec("cifar10-speed-facility_location0.4-seed0")
    assert (spec.epochs, spec.milestones) == (20, (6, 9, 12, 16))
    known = experiments.load("full", {"epochs": 1})
    assert known.spec("cifar10-robust-symmetric0.4-full-seed0").warmup == 0


def test_a_scale_may_hold_out_more_but_never_from_set_cover():
    known = experiments.load("laptop")
    assert known.spec("cifar10-robust-symmetric0.4-full-seed0").holdout == 0.125
    assert {s.holdout for s in known.specs.values() if s.method == "set_cover"} == {0.0}


def test_a_scale_may_shrink_batches_and_the_rate_along():
    full, laptop = (
        experiments.load(scale).spec("cifar10-robust-symmetric0.4-full-seed0")
        for scale in ("full", "laptop")
    )
    assert (full.batch_size, full.lr) == (128, 0.1) and laptop.batch_size < 128
    assert laptop.lr == pytest.approx(0.1 * laptop.batch_size / 128)
    assert experiments.load("laptop").spec("cifar10-speed-full-shuffled-seed0").batch_size == 32


def test_set_cover_finds_its_pretraining_run():
    for scale in ("smoke", "laptop", "desk", "full"):
        known = experiments.load(scale)
        cover = next(n for n, s in known.specs.items() if s.pretrained)
        assert known.pretraining_name(cover) == "cifar10-speed-full-holdout0-shuffled-seed0"
    assert known.pretraining_name("cifar10-robust-symmetric0.4-full-seed0") is None


def test_unknown_run_is_a_clear_error():
    known = experiments.load("smoke")
    with pytest.raises(experiments.StudyError, match="robustfl runs --scale smoke`; got 'typo'"):
        known.spec("typo")
    with pytest.raises(experiments.StudyError, match="this name has seeds"):
        known.spec("cifar10-robust-symmetric0.4-full-seed77")


def test_bad_entries_name_group_and_row(configs):
    def typo(c):
        c["groups"]["radius_cifar10"]["rows"]["r = 1"]["set"]["raduis"] = 1.0

    with pytest.raises(experiments.StudyError, match="group radius_cifar10, row 'r = 1'.*raduis"):
        experiments.load("smoke", directory=configs("experiments.yaml", typo))


@pytest.mark.parametrize(
    ("place", "field", "value"),
    [
        ("set", "method", "centralty"),
        ("set", "model", "resnet15"),
        ("set", "noise", "symetric"),
        ("set", "update_rule", "rewieght"),
        ("set", "embedding", "gradeint"),
        ("group", "dataset", "cifar01"),
        ("group", "protocol", "sped"),
    ],
)
def test_unknown_names_are_refused_with_group_row_and_value(configs, place, field, value):
    def typo(c):
        group = c["groups"]["radius_cifar10"]
        (group["rows"]["r = 1"]["set"] if place == "set" else group)[field] = value

    message = f"group radius_cifar10, row 'r = .*': {field} must be one of .*; got '{value}'$"
    with pytest.raises(experiments.StudyError, match=message):
        experiments.load("full", directory=configs("experiments.yaml", typo))


def test_an_unknown_model_of_a_scale_is_refused(configs):
    def typo(c):
        c["smoke"]["model"] = "resnet9"

    with pytest.raises(experiments.StudyError, match="model must be one of .*; got 'resnet9'"):
        experiments.load("smoke", directory=configs("scales.yaml", typo))


def test_what_the_group_and_the_seeds_give_is_no_setting(configs):
    def fix_the_seed(c):
        c["groups"]["radius_cifar10"]["rows"]["r = 1"]["set"]["seed"] = 3

    with pytest.raises(experiments.StudyError, match="row 'r = 1': set must not hold .*seed"):
        experiments.load("full", directory=configs("experiments.yaml", fix_the_seed))


def test_bad_seeds_and_groups():
    with pytest.raises(experiments.StudyError, match="seeds must be null or a non-empty list"):
        experiments.load("smoke", {"seeds": [1, 1]})
    with pytest.raises(experiments.StudyError, match="groups must be among"):
        experiments.load("smoke", {"groups": ["noise"]})
    with pytest.raises(experiments.StudyError, match="scale must be one of"):
        experiments.load("huge")


def test_one_entry_is_one_experiment(configs):
    def add(c):
        c["groups"]["pair_noise"] = {
            "title": "Pair noise",
            "slide": "beyond the slides",
            "dataset": "cifar10",
            "protocol": "robust",
            "rows": {"full": {"set": {"method": "full", "noise": "pair", "noise_rate": 0.3}}},
        }

    known = experiments.load("full", {"groups": ["pair_noise"]}, configs("experiments.yaml", add))
    assert list(known.specs) == ["cifar10-robust-pair0.3-full-seed0"]


def test_names_differ_whenever_specs_differ():
    base = RunSpec()
    for field, value in {
        "selection_interval": 5,
        "representative": "sampled",
        "embedding": "logit",
        "batch_size": 64,
        "gamma": 0.2,
    }.items():
        changed = RunSpec(**{field: value})
        assert experiments.readable_name("p", base, changed) != experiments.readable_name(
            "p", base, base
        ), field


def test_auto_scale_follows_the_device(monkeypatch):
    for present, scale in ((True, "full"), (False, "smoke")):
        monkeypatch.setattr(config, "cuda_present", lambda present=present: present)
        assert experiments.resolve_scale("auto") == scale


def test_config_is_not_rewritten():
    before = copy.deepcopy(experiments.read_yaml(Path("config/experiments.yaml")))
    experiments.load("smoke")
    assert experiments.read_yaml(Path("config/experiments.yaml")) == before


def test_a_leading_tilde_is_a_home_folder_in_every_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    plain = experiments.read_yaml(Path("config/config.yaml"))
    written = {"results": "~/r", "cache": "~/c", "data": {"source": "folder", "folder": "~/d"}}
    checked = experiments.check_config(plain | written)
    assert (checked["results"], checked["cache"]) == ("/home/somebody/r", "/home/somebody/c")
    assert checked["data"] == {"source": "folder", "folder": "/home/somebody/d"}
    assert experiments.check_config(checked) == checked
    with pytest.raises(experiments.StudyError, match="cache: .* known home; got '~no-such-user/c'"):
        experiments.check_config(plain | {"cache": "~no-such-user/c"})


def test_the_studys_ratios_keep_their_counts():
    """Records were made by floor(ratio * n) in floats; no class that a run may have differs."""
    known = [experiments.load(scale) for scale in experiments.scales()]
    ratios = {spec.ratio for study in known for spec in study.specs.values()}
    assert len(ratios) == 10
    for ratio in ratios:
        for n in range(1, 6001):
            assert validation.count(ratio, n) == max(1, math.floor(ratio * n)), (ratio, n)
        for n in (180, 200, 1440, 1600, 5000, 15000, 45000, 50000):
            assert validation.nearest_count(ratio, n) == max(1, round(ratio * n)), (ratio, n)
