"""The readings of the slides and of the released code, each against a restatement of its text."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from robustfl import rng
from robustfl.execution.preparation import Options, new_model, prepare
from robustfl.execution.run import run_to_record
from robustfl.study import record
from robustfl.training import augment, embeddings, resnet
from robustfl.training.epoch_plan import (
    Plan,
    Subset,
    epoch_order,
    partners_as_released,
    plan_epoch,
)
from robustfl.training.epoch_selector import EpochSelector
from robustfl.training.loop import train_epochs
from robustfl.training.metrics import effective_size, gradient_quality, training_fit
from robustfl.training.steps.eager import EagerSteps

CPU = torch.device("cpu")


@pytest.fixture
def options(tmp_path):
    return Options(device="cpu", cache=str(tmp_path / "cache"), log=lambda line: None)


@pytest.fixture
def noisy(tiny):
    return dataclasses.replace(tiny, noise="symmetric", noise_rate=0.4, epochs=3)


# orders


def test_within_classes_the_order_is_shuffled_and_classes_stay_interleaved(tiny):
    classes = np.repeat([0, 1, 2], [4, 3, 2])
    subset = Subset(np.arange(100, 109), np.ones(9), classes, {"covered": 1.0})
    spec = dataclasses.replace(tiny, batch_order="within_class")
    orders = [epoch_order(subset, spec, epoch) for epoch in range(1, 30)]
    for order in orders:
        assert sorted(order) == list(range(9))
        assert classes[order].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 0]
    firsts = {order[0] for order in orders}
    assert firsts == {0, 1, 2, 3}, "any point of a class may come first"


def test_another_shuffle_differs_in_the_order_alone(noisy, options):
    """The A/A control: the same data, labels, start and crops; the points' order alone differs."""
    data, facts = prepare(noisy, options, CPU)
    other = dataclasses.replace(noisy, order_seed=1)
    again, other_facts = prepare(other, options, CPU)
    assert facts == other_facts and torch.equal(data.images.pixels, again.images.pixels)
    assert torch.equal(data.given_labels, again.given_labels)
    ours, theirs = (new_model(spec, CPU).state_dict() for spec in (noisy, other))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)

    n = len(data.given_labels)
    everything = Subset(np.arange(n), np.ones(n), data.given_labels.numpy())
    plans = [
        plan_epoch(everything, epoch_order(everything, spec, 1), data, spec, 1, 0.1)
        for spec in (noisy, other)
    ]
    assert torch.equal(plans[0].crops, plans[1].crops)
    assert plans[0].order.tolist() != plans[1].order.tolist()
    assert sorted(plans[0].order.tolist()) == sorted(plans[1].order.tolist())


def test_a_random_subset_can_be_drawn_once(noisy, options):
    spec = dataclasses.replace(noisy, method="random", ratio=0.3, epochs=5, selection_interval=5)
    data, _ = prepare(spec, options, CPU)
    selector, model = EpochSelector(spec, data), new_model(spec, CPU)
    drawn = [selector(epoch, model).indices.tolist() for epoch in range(1, 6)]
    assert all(d == drawn[0] for d in drawn)
    assert selector.coverage.selections == 1


# as released, bug for bug


def released_points(model, data, spec, epoch):
    """`estimate_grads` stated anew: train mode, augmented batches in order, autograd of each
    batch's mean loss."""
    crops = augment.draw_crops(spec.seed, epoch, len(data.images), purpose="augment estimate")
    model.train()
    rows = []
    for start in range(0, len(data.given_labels), spec.batch_size):
        index = torch.arange(start, min(start + spec.batch_size, len(data.given_labels)))
        features = model.features(data.images.augmented(index, crops))
        loss = F.cross_entropy(model.fc(features), data.given_labels[index], reduction="mean")
        rows.append(torch.autograd.grad(loss, features)[0])
    return torch.cat(rows)


def test_released_gradients_are_of_the_batch_mean_in_train_mode(noisy, options):
    data, _ = prepare(noisy, options, CPU)
    ours, theirs = new_model(noisy, CPU), new_model(noisy, CPU)
    seen = embeddings.forward_as_released(
        ours,
        data.images,
        data.given_labels,
        "fp32",
        batch=noisy.batch_size,
        seed=noisy.seed,
        epoch=2,
    )
    expected = released_points(theirs, data, noisy, 2)
    torch.testing.assert_close(seen.points("gradient"), expected, rtol=1e-4, atol=1e-7)
    assert len(data.given_labels) % noisy.batch_size, (
        "the last batch is smaller, so its gradients are larger"
    )
    for name, buffer in ours.named_buffers():  # the running statistics have moved as theirs have
        torch.testing.assert_close(buffer, dict(theirs.named_buffers())[name])
    assert not torch.equal(ours.bn.running_mean, new_model(noisy, CPU).bn.running_mean)


def test_released_picks_are_row_sums_and_weights_class_sizes(noisy, options):
    spec = dataclasses.replace(
        noisy,
        holdout=0.0,
        method="centrality",
        ratio=0.5,
        weights="class",
        normalise="batch",
        gradient_mode="train",
    )
    data, _ = prepare(spec, options, CPU)
    subset = EpochSelector(spec, data)(1, new_model(spec, CPU))
    points = released_points(new_model(spec, CPU), data, spec, 1)
    given = data.given_labels.numpy()
    for c in np.unique(given):
        where = np.flatnonzero(given == c)
        sums = torch.cdist(points[where].double(), points[where].double()).sum(1)
        wanted = where[torch.argsort(sums, stable=True)[: len(where) // 2].numpy()]
        assert set(subset.indices[subset.classes == c]) == set(wanted)
        assert np.ptp(subset.weights[subset.classes == c]) == 0
    sizes = np.bincount(given)
    weights = subset.weights / subset.weights[0] * sizes[subset.classes[0]]
    np.testing.assert_allclose(weights, sizes[subset.classes])


def test_weights_can_be_normalised_in_each_batch(tiny, options):
    """A step on weights that do not average to 1 descends sum w l / sum w, as the released code's
    does."""
    spec = dataclasses.replace(tiny, normalise="batch")
    data, _ = prepare(spec, options, CPU)
    model, twin = (resnet.build("resnet8", 3, 10, seed=0) for _ in range(2))
    index, weights = torch.arange(32), torch.arange(1.0, 33.0)
    crops = torch.full((len(data.images), 3), 4)
    crops[:, 2] = 0
    EagerSteps(model, data, spec).run_epoch(Plan(index, weights, crops, lr=0.05))
    losses = F.cross_entropy(
        twin(data.images.plain(0, 32)), data.given_labels[:32], reduction="none"
    )
    ((weights * losses).sum() / weights.sum()).backward()
    for ours, theirs in zip(model.parameters(), twin.parameters()):
        expected = theirs - 0.05 * (theirs.grad + spec.weight_decay * theirs)
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


def test_released_partners_are_of_the_whole_given_class_with_one_share_a_batch():
    given = np.arange(1000) % 5
    classes = np.repeat(np.arange(5), 20)
    partners, shares = partners_as_released(classes, given, 32, rng.stream(0, "mix", 1))
    assert (given[partners] == classes).all()
    assert len(np.unique(partners)) > 60, "a class has 200 points, not the 20 picks alone"
    batches = [shares[i : i + 32] for i in range(0, 100, 32)]
    assert all(np.ptp(b) == 0 for b in batches) and len({b[0] for b in batches}) == 4
    draws = [partners_as_released(classes, given, 1, rng.stream(s, "mix", 1))[1] for s in range(20)]
    assert np.mean(draws) == pytest.approx(1 / 1.1, abs=0.02)  # the mean of Beta(1, 0.1)


def test_released_mixing_begins_one_epoch_after_the_first_selection(noisy, options):
    spec = dataclasses.replace(noisy, epochs=9, warmup=5, mixup=True, mixup_variant="released")
    data, _ = prepare(spec, options, CPU)
    n = len(data.given_labels)
    everything = Subset(np.arange(n), np.ones(n), data.given_labels.numpy(), {"covered": 1.0})
    mixed = [
        bool((plan_epoch(everything, np.arange(n), data, spec, epoch, 0.1).mixup_lambda < 1).any())
        for epoch in range(1, 10)
    ]
    assert mixed == [False] * 6 + [True] * 3


# columns


def test_memorisation_against_a_hand_count():
    hits = torch.tensor([True, True, False, True, False, False, True, False])
    clean = torch.tensor([True, True, True, True, False, False, False, False])
    fit = training_fit(hits, clean)
    assert fit == {"fit": 50.0, "fit_true": 75.0, "fit_false": 25.0}
    assert training_fit(hits, torch.ones(8, dtype=torch.bool))["fit_false"] is None


def test_columns_of_a_run_are_those_of_its_models(noisy, options):
    """fit, fit_true and fit_false of each selection are those of the model's own predictions, and
    the gradient error is that of autograd's gradient of the last layer."""
    spec = dataclasses.replace(noisy, method="centrality", ratio=0.4, weights="cluster")
    data, _ = prepare(spec, options, CPU)
    selector, checked = EpochSelector(spec, data), []

    def observe(epoch, model, subset):
        told = selector.observe(epoch, model, subset)
        model.eval()
        model.zero_grad()
        logits = model(data.images.plain(0, len(data.given_labels)))
        hits, clean = logits.argmax(1) == data.given_labels, data.given_labels == data.true_labels
        assert told["fit"] == pytest.approx(100 * hits.float().mean().item(), abs=1e-4)
        assert told["fit_true"] == pytest.approx(100 * hits[clean].float().mean().item(), abs=1e-4)
        assert told["fit_false"] == pytest.approx(
            100 * hits[~clean].float().mean().item(), abs=1e-4
        )

        losses = F.cross_entropy(logits, data.given_labels, reduction="none")
        last = [model.fc.weight, model.fc.bias]
        whole = torch.cat(
            [g.flatten() for g in torch.autograd.grad(losses.mean(), last, retain_graph=True)]
        )
        weights = torch.from_numpy(subset.weights).float()
        part = (losses[subset.indices] * weights).sum() / weights.sum()
        ours = torch.cat([g.flatten() for g in torch.autograd.grad(part, last)])
        error = ((ours - whole).norm() / whole.norm()).item()
        assert told["gradient_error"] == pytest.approx(error, rel=1e-3)
        checked.append(epoch)
        return told

    progress = train_epochs(new_model(spec, CPU), data, spec, select=selector, observe=observe)
    assert checked == [1, 2, 3]
    for row in progress.curves:
        w = selector.subset.weights
        assert 0 < row["effective_size"] < 1
    assert progress.curves[-1]["effective_size"] == pytest.approx(
        w.sum() ** 2 / (len(w) * (w**2).sum())
    )


def test_runs_without_a_selection_are_observed_every_tenth_epoch(noisy, options, tmp_path):
    spec = dataclasses.replace(noisy, epochs=13)
    run_to_record(spec, tmp_path / "full", "full", options)
    rows = record.read(tmp_path / "full", "full", spec).curves
    assert [int(r["epoch"]) for r in rows if r["fit_false"] is not None] == [1, 11, 13]
    assert rows[-1]["gradient_error"] < 1e-10
    blind = dataclasses.replace(spec, method="random", ratio=0.5)
    metrics = run_to_record(blind, tmp_path / "random", "random", options)
    assert metrics["forwards"] == metrics["backwards"], "looking on is no cost of the method"


def test_observing_changes_nothing(noisy, options, monkeypatch, tmp_path):
    plain = run_to_record(noisy, tmp_path / "a", "a", options)
    monkeypatch.setattr(EpochSelector, "observe", lambda self, epoch, model, subset: {})
    blind = run_to_record(noisy, tmp_path / "b", "b", options)
    assert plain["provenance"]["weights_hash"] == blind["provenance"]["weights_hash"]


def test_effective_size():
    assert effective_size(np.ones(7)) == 1
    assert effective_size(np.array([1.0, 0, 0, 0])) == 0.25
    assert effective_size(np.zeros(3)) is None


def test_the_gradient_error_of_everything_is_zero_and_of_one_point_is_not(noisy, options):
    data, _ = prepare(noisy, options, CPU)
    seen = embeddings.forward(new_model(noisy, CPU), data.images, data.given_labels)
    n = len(data.given_labels)
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    assert gradient_quality(seen, shuffled, torch.ones(n))["gradient_error"] < 1e-10
    assert gradient_quality(seen, torch.tensor([0]), torch.ones(1))["gradient_error"] > 0.1


def test_last_layer_points_are_the_gradients_of_the_last_layer(noisy, options):
    data, _ = prepare(noisy, options, CPU)
    model = new_model(noisy, CPU)
    points = embeddings.points(model, data.images, data.given_labels, "last_layer")
    assert points.shape == (len(data.given_labels), 10 * 65)
    model.eval()
    for i in range(0, len(data.given_labels), 17):
        loss = F.cross_entropy(model(data.images.plain(i, i + 1)), data.given_labels[i : i + 1])
        weight, bias = torch.autograd.grad(loss, [model.fc.weight, model.fc.bias])
        expected = torch.cat([weight, bias[:, None]], 1).flatten()
        torch.testing.assert_close(
            torch.as_tensor(points.dense()[i]).float(), expected, rtol=1e-4, atol=1e-6
        )


def test_a_test_every_third_epoch_and_after_the_last(noisy, options, tmp_path):
    spec = dataclasses.replace(noisy, epochs=7, test_interval=3)
    metrics = run_to_record(spec, tmp_path / "run", "run", options)
    rows = record.read(tmp_path / "run", "run", spec).curves
    tested = [int(r["epoch"]) for r in rows if r["test_top1"] is not None]
    assert tested == [3, 6, 7]
    for column in ("test_loss", "test_top5", "heldout_acc"):
        assert [int(r["epoch"]) for r in rows if r[column] is not None] == tested
    assert metrics["best_epoch"] in tested and metrics["heldout_epoch"] in tested
    assert metrics["last_top1"] == pytest.approx(rows[-1]["test_top1"], abs=1e-4)
    often = run_to_record(
        dataclasses.replace(spec, test_interval=1), tmp_path / "often", "often", options
    )
    assert often["provenance"]["weights_hash"] == metrics["provenance"]["weights_hash"]


def test_a_record_measured_otherwise_is_of_the_same_run(tiny):
    asked = dataclasses.replace(tiny, test_size=0, test_interval=3, precision="auto")
    for held in (tiny, dataclasses.replace(tiny, precision="bf16")):
        assert asked.accepts(held)
    assert not dataclasses.replace(asked, precision="fp32").accepts(
        dataclasses.replace(tiny, precision="bf16")
    )
    assert not asked.accepts(dataclasses.replace(tiny, epochs=5))
