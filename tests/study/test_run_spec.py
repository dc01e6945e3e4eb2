import dataclasses
import hashlib
import json

import pytest

from robustfl.study.run_spec import RunSpec, SpecError, help_of


def test_hash_is_pinned():
    """Changing the hash orphans every committed record: do it knowingly."""
    assert RunSpec().hash == "44136fa355b3678a"
    assert (
        RunSpec(noise="symmetric", noise_rate=0.4, milestones=(80, 100)).hash == "5bff46565243cf14"
    )


def test_defaults_stay_out_of_the_hash():
    assert RunSpec(ratio=1.0, method="full").hash == RunSpec().hash
    assert RunSpec(ratio=1, lr=0.1).hash == RunSpec().hash, (
        "an integer for a float is the same value"
    )


def test_every_field_enters_the_hash():
    changes = dict(
        dataset="fashion_mnist",
        use_sample=True,
        train_size=1,
        test_size=1,
        holdout=0.1,
        noise_rate=0.1,
        model="resnet8",
        seed=1,
        epochs=2,
        batch_size=2,
        optimizer="adam",
        lr=0.2,
        momentum=0.5,
        weight_decay=0.0,
        milestones=(1,),
        gamma=0.5,
        precision="bf16",
        method="random",
        ratio=0.5,
        embedding="logit",
        weights="cluster",
        radius=1.0,
        radius_unit="median",
        batch_order="greedy",
        representative="sampled",
        selection_interval=2,
        warmup=1,
        pretrained=True,
        ratio_end=1.0,
        mixup=True,
        torch_compile=True,
        test_interval=2,
        gradient_mode="train",
        normalise="batch",
        order_seed=1,
    )
    linked = {"noise_rate": {"noise": "pair"}}
    hashes = {
        RunSpec(**{field: value} | linked.get(field, {})).hash for field, value in changes.items()
    }
    hashes.add(RunSpec(noise="symmetric", noise_rate=0.1).hash)
    hashes.add(RunSpec(noise="asymmetric", noise_rate=0.1, noise_map=((1, 2),)).hash)
    hashes |= {RunSpec(update_rule="reweight", num_clean=size).hash for size in (1, 2)}
    hashes.add(RunSpec(mixup=True, mixup_variant="released").hash)
    assert len(hashes) == len(RunSpec().asdict())


def test_round_trip():
    spec = RunSpec(
        noise="asymmetric", noise_rate=0.3, noise_map=((9, 1), (2, 0)), milestones=(3, 5)
    )
    assert RunSpec.from_dict(spec.asdict()) == spec


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratio": 1.4}, r"ratio must be in \(0, 1\]; got 1.4"),
        ({"epochs": 0}, "epochs must be an integer >= 1; got 0"),
        ({"noise": "loud"}, "noise must be one of none, symmetric, asymmetric, pair; got 'loud'"),
        ({"noise": "symmetric"}, "noise_rate must be 0 exactly when noise is none; got 0.0"),
        ({"weights": "ball"}, "radius must be > 0 when weights is ball; got 0.0"),
        ({"milestones": (5, 3)}, r"milestones must be increasing; got \(5, 3\)"),
        ({"lr": -1.0}, "lr must be > 0; got -1.0"),
        ({"lr": "fast"}, "lr must be a finite number; got 'fast'"),
    ],
)
def test_bad_fields_are_named(changes, message):
    with pytest.raises(SpecError, match=message):
        RunSpec(**changes)


def test_unknown_field_is_named():
    with pytest.raises(SpecError, match="epoch_count"):
        RunSpec.from_dict({"epoch_count": 3})


def test_pretraining_is_the_plain_run():
    spec = RunSpec(
        method="set_cover", ratio=0.8, pretrained=True, weights="from_selector", epochs=7
    )
    assert spec.pretraining() == RunSpec(epochs=7)
    assert spec.pretraining().pretraining() == spec.pretraining()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_rate": 1.0}, r"noise_rate must be in \[0, 1\); got 1.0"),
        ({"momentum": -0.1}, "momentum must be >= 0; got -0.1"),
        ({"seed": -1}, "seed must be an integer >= 0; got -1"),
        ({"seed": True}, "seed must be an integer; got True"),
        ({"milestones": (0,)}, r"milestones must be integers >= 1; got \(0,\)"),
        ({"milestones": 3}, "milestones must be a list; got 3"),
        (
            {"update_rule": "mixed"},
            "update_rule must be one of plain, reweight, raw_clusters; got 'mixed'",
        ),
        ({"warmup": 9, "epochs": 9}, r"warmup must be less than epochs \(9\), or nothing is ever"),
    ],
)
def test_messages_come_from_the_rules(changes, message):
    with pytest.raises(SpecError, match=message):
        RunSpec(**changes)


def test_every_field_has_help_in_a_line():
    for field in dataclasses.fields(RunSpec):
        assert help_of(field.name) and "\n" not in help_of(field.name), field.name


def test_renamed_fields_keep_the_hash_and_the_records_they_had():
    written = {"every": 5, "mix": True, "noise": "agnostic", "noise_rate": 0.4, "subset": 1600}
    spec = RunSpec.from_dict(written)
    assert (spec.selection_interval, spec.mixup, spec.noise) == (5, True, "symmetric")
    assert spec == RunSpec.from_dict(spec.asdict())
    plain = json.dumps(written, sort_keys=True).encode()
    assert spec.hash == hashlib.sha256(plain).hexdigest()[:16]


def test_a_field_is_given_under_one_name():
    with pytest.raises(SpecError, match="every is called selection_interval; give that alone"):
        RunSpec.from_dict({"every": 5, "selection_interval": 5})
