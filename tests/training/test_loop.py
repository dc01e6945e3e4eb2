"""The loop itself, and whole runs on the committed sample."""

import base64
import dataclasses
import json
import shutil
import zlib

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from robustfl.execution.preparation import Options, prepare
from robustfl.execution.run import run_to_record, train_or_resume
from robustfl.study import record
from robustfl.training import resnet
from robustfl.training.epoch_plan import Plan, Subset, epoch_order, interleaved
from robustfl.training.loop import TrainingError, train_epochs
from robustfl.training.optim import learning_rate
from robustfl.training.steps.eager import EagerSteps

CPU = torch.device("cpu")
METHODS = [
    {"method": "full"},
    {"method": "full", "weights": "ball", "radius": 0.5, "radius_unit": "median"},
    {"method": "facility_location", "ratio": 0.4, "batch_order": "greedy"},
    {
        "method": "facility_location",
        "ratio": 0.4,
        "weights": "cluster",
        "representative": "sampled",
        "selection_interval": 2,
    },
    {"method": "centrality", "ratio": 0.4, "weights": "ball", "radius": 2.0, "embedding": "logit"},
    {"method": "random", "ratio": 0.4},
    {"method": "set_cover", "ratio": 0.7, "weights": "from_selector", "embedding": "feature"},
    {"method": "centrality", "ratio": 0.5, "weights": "cluster", "mixup": True},
    {"method": "small_loss", "ratio": 0.6, "embedding": "loss"},
    {"method": "el2n", "ratio": 0.4, "embedding": "logit"},
    {"method": "facility_location", "ratio": 0.2, "ratio_end": 0.9},
]


@pytest.fixture
def options(tmp_path):
    return Options(device="cpu", cache=str(tmp_path / "cache"), log=lambda line: None)


def test_interleaving_visits_classes_by_rank():
    classes = np.array([0, 0, 0, 1, 1, 2])
    assert interleaved(classes).tolist() == [0, 3, 5, 1, 4, 2]


def test_greedy_order_and_shuffle(tiny):
    subset = Subset(np.arange(6), np.ones(6), np.array([0, 0, 0, 1, 1, 2]), {"covered": 1.0})
    greedy = epoch_order(subset, dataclasses.replace(tiny, batch_order="greedy"), 1)
    assert greedy.tolist() == [0, 3, 5, 1, 4, 2]
    one, two, again = (epoch_order(subset, tiny, e).tolist() for e in (1, 2, 1))
    assert sorted(one) == list(range(6)) and one == again != two


@pytest.mark.parametrize("order", ["greedy", "within_class"])
def test_warm_up_is_shuffled_whatever_the_order(tiny, order):
    subset = Subset(np.arange(6), np.ones(6), np.array([0, 0, 0, 1, 1, 2]), warmup=True)
    shuffled = epoch_order(subset, tiny, 1).tolist()
    assert epoch_order(subset, dataclasses.replace(tiny, batch_order=order), 1).tolist() == shuffled


def test_learning_rate_falls_after_its_milestones(tiny):
    spec = dataclasses.replace(tiny, lr=1.0, gamma=0.5, milestones=(2, 4))
    assert [learning_rate(spec, e) for e in range(1, 7)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_a_step_is_weighted_sgd(tiny, options):
    """One step is theta - lr (grad mean_i w_i l_i + weight decay theta)."""
    data, _ = prepare(tiny, options, CPU)
    model, twin = (resnet.build("resnet8", 3, 10, seed=0) for _ in range(2))
    index = torch.arange(32)
    weights = torch.rand(32, generator=torch.Generator().manual_seed(0)) * 2
    crops = torch.full((len(data.images), 3), 4)
    crops[:, 2] = 0
    totals = EagerSteps(model, data, tiny).run_epoch(Plan(index, weights, crops, lr=0.05))
    losses = F.cross_entropy(
        twin(data.images.plain(0, 32)), data.given_labels[:32], reduction="none"
    )
    (weights * losses).mean().backward()
    for ours, theirs in zip(model.parameters(), twin.parameters()):
        expected = theirs - 0.05 * (theirs.grad + tiny.weight_decay * theirs)
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)
    assert totals[0].item() == pytest.approx((weights * losses).sum().item(), rel=1e-5)


@pytest.mark.parametrize("changes", METHODS, ids=lambda c: "-".join(map(str, c.values())))
def test_every_method_trains_and_repeats_to_the_byte(tiny, options, tmp_path, changes):
    spec = dataclasses.replace(
        tiny, noise="symmetric", noise_rate=0.4, epochs=3, warmup=1, **changes
    )
    metrics = [run_to_record(spec, tmp_path / f"out{i}", "run", options) for i in (0, 1)]
    held = record.read(tmp_path / "out0", "run", spec)
    assert (tmp_path / "out0/curves.csv").read_bytes() == (
        tmp_path / "out1/curves.csv"
    ).read_bytes()
    assert metrics[0]["provenance"]["weights_hash"] == metrics[1]["provenance"]["weights_hash"]
    assert metrics[0]["selection_hash"] == metrics[1]["selection_hash"] != ""
    n = 108  # 120 less the hold-out
    picks = [int(row["selected"]) for row in held.curves]
    assert picks[0] == n, "warm-up on the full set"
    assert held.curves[-1]["backwards"] == sum(picks)
    blind = spec.method in ("full", "random") and spec.weights == "uniform"
    selections = 0 if blind else 1 if spec.selection_interval == 2 else 2
    assert held.curves[-1]["forwards"] == sum(picks) + selections * n
    assert 0 < held.curves[-1]["label_precision"] <= 1
    assert (held.curves[-1]["covered"] == 1.0) == (spec.method == "full")


def test_all_methods_see_the_same_noise_and_initialisation(tiny, options):
    spec = dataclasses.replace(tiny, noise="symmetric", noise_rate=0.4)
    other = dataclasses.replace(spec, method="random", ratio=0.2, batch_size=16)
    (one, facts), (two, facts2) = (prepare(s, options, CPU) for s in (spec, other))
    assert facts["label_hash"] == facts2["label_hash"] and torch.equal(
        one.given_labels, two.given_labels
    )
    assert not torch.equal(
        prepare(dataclasses.replace(spec, seed=1), options, CPU)[0].given_labels, one.given_labels
    )


def test_heldout_images_are_not_trained_on(tiny, options):
    data, facts = prepare(tiny, options, CPU)
    assert (facts["train_points"], facts["heldout_points"]) == (108, 12)
    trained = {image.numpy().tobytes() for image in data.images.pixels}
    assert not trained & {image.numpy().tobytes() for image in data.heldout.pixels}


def test_loss_that_is_not_finite_stops_the_run(tiny, options, tmp_path):
    spec = dataclasses.replace(tiny, lr=1e18)
    with pytest.raises(
        TrainingError, match=r"training loss must be finite; got (nan|inf) in epoch"
    ):
        run_to_record(spec, tmp_path / "out", "run", options)
    assert not (tmp_path / "out/metrics.json").exists()


def test_a_last_step_that_ruins_the_network_stops_the_run(tiny, options, tmp_path):
    spec = dataclasses.replace(
        tiny, lr=1e30, epochs=1, batch_size=256
    )  # one step, from a loss that is finite
    with pytest.raises(TrainingError, match=r"test loss must be finite; got (nan|inf) in epoch 1"):
        run_to_record(spec, tmp_path / "out", "run", options)
    assert not (tmp_path / "out/metrics.json").exists()


def test_a_complete_record_is_kept_and_a_stale_one_refused(tiny, options, tmp_path):
    run_to_record(tiny, tmp_path / "out", "run", options)
    before = (tmp_path / "out/metrics.json").read_bytes()
    run_to_record(tiny, tmp_path / "out", "run", options)
    assert (tmp_path / "out/metrics.json").read_bytes() == before
    with pytest.raises(record.RecordError, match="seed: 0 -> 5"):
        run_to_record(dataclasses.replace(tiny, seed=5), tmp_path / "out", "run", options)


def test_pretrained_selection_uses_the_finished_run(tiny, options, tmp_path):
    spec = dataclasses.replace(
        tiny, method="set_cover", ratio=0.7, weights="from_selector", pretrained=True
    )
    run_to_record(spec, tmp_path / "alone", "run", options)  # trains its pretraining run on demand
    models_made = sorted((tmp_path / "cache/models").glob("*.pt"))
    assert len(models_made) == 1 and spec.pretraining().hash in models_made[0].name
    fresh = dataclasses.replace(options, cache=str(tmp_path / "cache2"))
    run_to_record(
        spec.pretraining(), tmp_path / "plain", "plain", fresh
    )  # leaves its model in the cache
    log = []
    run_to_record(spec, tmp_path / "after", "run", dataclasses.replace(fresh, log=log.append))
    assert not [line for line in log if "training the pretrained model" in line]
    one, two = ((tmp_path / d / "curves.csv").read_bytes() for d in ("alone", "after"))
    assert one == two
    rows = record.read(tmp_path / "after", "run", spec).curves
    assert rows[0]["covered"] == rows[-1]["covered"] == pytest.approx(0.7, abs=0.02), (
        "selected once"
    )


def test_metrics_are_of_the_curves(tiny, options, tmp_path):
    run_to_record(dataclasses.replace(tiny, epochs=4), tmp_path / "out", "run", options)
    held = record.read(tmp_path / "out", "run", dataclasses.replace(tiny, epochs=4))
    tops = [row["test_top1"] for row in held.curves]
    assert held.metrics["best_top1"] == pytest.approx(max(tops), abs=1e-3)
    assert held.metrics["best_epoch"] == 1 + int(np.argmax(tops))
    assert held.metrics["last_top1"] == pytest.approx(tops[-1], abs=1e-3)
    chosen = 1 + int(np.argmax([row["heldout_acc"] for row in held.curves]))
    assert held.metrics["heldout_epoch"] == chosen and held.metrics[
        "heldout_top1"
    ] == pytest.approx(tops[chosen - 1], abs=1e-3)
    assert (
        json.loads((tmp_path / "out/metrics.json").read_text())["provenance"]["test_points"] == 60
    )


def test_classes_and_picks_are_of_the_selections(tiny, options, tmp_path):
    spec = dataclasses.replace(
        tiny, noise="symmetric", noise_rate=0.4, epochs=4, method="facility_location", ratio=0.3
    )
    run_to_record(spec, tmp_path / "out", "run", options)
    held = record.read(tmp_path / "out", "run", spec)
    for row in held.curves:
        own = [c for c in held.classes if c["epoch"] == row["epoch"]]
        assert sum(c["selected"] for c in own) == row["selected"]
        right = sum(c["selected"] * c["label_precision"] for c in own)
        assert right / row["selected"] == pytest.approx(row["label_precision"], abs=1e-4)
    assert held.picks["selections"] == 4
    most, least = held.picks["most"], held.picks["least"]
    assert (
        most[0]["count"]
        == max(p["count"] for p in most)
        > least[0]["count"]
        == min(p["count"] for p in least)
    )
    data, _ = prepare(spec, options, CPU)
    images = {image.numpy().tobytes() for image in data.images.pixels[:, 4:-4, 4:-4]}
    assert all(zlib.decompress(base64.b64decode(p["pixels"])) in images for p in most + least)


def test_train_knows_no_method(tiny, options):
    """The loop takes any callable, and the clock it is given."""
    data, _ = prepare(tiny, options, CPU)
    asked = []

    def select(epoch, model):
        asked.append(epoch)
        return Subset(np.arange(40), np.ones(40), data.given_labels[:40].numpy())

    ticks = iter(range(1000))
    progress = train_epochs(
        resnet.build("resnet8", 3, 10, 0),
        data,
        tiny,
        select=select,
        clock=lambda: next(ticks),
        meter=lambda: 7.0,
    )
    assert asked == [1, 2] and progress.backwards == 80
    assert progress.timings[0] == {
        "epoch": 1,
        "select": 1,
        "train": 1,
        "evaluate": 1,
        "energy": 7.0,
    }


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("g++") is None or " " in torch.__path__[0],
    reason="torch.compile needs a C++ compiler, and no space in its path",
)
def test_compiled_steps_are_eager_steps_up_to_rounding(tiny, options, tmp_path):
    spec = dataclasses.replace(tiny, epochs=1, train_size=80, holdout=0.0)
    eager, compiled = (
        train_or_resume(
            dataclasses.replace(spec, torch_compile=c), tmp_path / f"{c}.ckpt", options
        ).progress.curves[0]
        for c in (False, True)
    )
    assert compiled["train_loss"] == pytest.approx(eager["train_loss"], rel=1e-3)
    assert compiled["backwards"] == eager["backwards"]


def test_compiling_from_a_path_with_a_space_is_refused(tiny, options, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "__path__", ["/a b/torch"])
    with pytest.raises(
        ValueError, match="compiled must be false where torch's path has a space; got /a b/torch"
    ):
        train_or_resume(dataclasses.replace(tiny, torch_compile=True), tmp_path / "x.ckpt", options)


def test_training_learns(tiny, options, tmp_path):
    """200 real images are learned: images, labels, gradients and updates fit together."""
    spec = dataclasses.replace(
        tiny, dataset="fashion_mnist", train_size=200, epochs=15, holdout=0.0, lr=0.05
    )
    progress = train_or_resume(spec, tmp_path / "x.ckpt", options).progress
    assert progress.curves[-1]["train_loss"] < 0.7 * progress.curves[0]["train_loss"]
    assert progress.curves[-1]["train_acc_given"] > 60
    assert progress.curves[-1]["test_top1"] > 50, "chance is 10"
