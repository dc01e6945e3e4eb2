"""Each baseline against its paper's definition."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from robustfl.execution.preparation import Options, prepare
from robustfl.execution.run import run_to_record
from robustfl.selection import SELECTORS
from robustfl.study import record
from robustfl.training import embeddings, resnet
from robustfl.training.epoch_plan import partners_of
from robustfl.training.steps.forgetting_events import Forgetting

CPU = torch.device("cpu")


@pytest.fixture
def options(tmp_path):
    return Options(device="cpu", cache=str(tmp_path / "cache"), log=lambda line: None)


@pytest.fixture
def setting(tiny, options):
    """(spec, data, model) with label noise."""
    spec = dataclasses.replace(tiny, noise="symmetric", noise_rate=0.4, batch_size=16)
    return spec, prepare(spec, options, CPU)[0], resnet.build("resnet8", 3, 10, seed=0)


def test_forgetting_events_are_counted_as_defined():
    hits = np.random.default_rng(0).random((12, 40)) < 0.5
    hits[:, :3] = False  # never learned
    forgetting = Forgetting(40, CPU)
    for epoch in hits:
        order = np.random.default_rng(1).permutation(40)
        for index in np.split(order, 8):
            forgetting.see(torch.from_numpy(index), torch.from_numpy(epoch[index]))
    naive = [sum(a and not b for a, b in zip(column, column[1:])) for column in hits.T]
    assert forgetting.scores(most=99).tolist() == [99, 99, 99, *naive[3:]]


def test_small_loss_and_el2n_are_their_definitions(setting):
    _, data, model = setting
    given = data.given_labels.numpy()
    loss = embeddings.points(model, data.images, data.given_labels, "loss").numpy()
    residual = embeddings.points(model, data.images, data.given_labels, "logit").numpy()
    kept = SELECTORS["small_loss"](loss, given, 0.6, np.random.default_rng(0)).indices
    hard = SELECTORS["el2n"](residual, given, 0.4, np.random.default_rng(0)).indices
    np.testing.assert_allclose(
        loss[:, 0], -np.log(1 + residual[np.arange(len(given)), given]), rtol=1e-4
    )
    norms = np.linalg.norm(residual, axis=1)
    for c in np.unique(given):
        own = np.flatnonzero(given == c)
        inside = np.isin(own, kept)
        assert loss[own[inside]].max() <= loss[own[~inside]].min()
        inside = np.isin(own, hard)
        assert norms[own[inside]].min() >= norms[own[~inside]].max()


def test_mixing_partners_share_the_class_and_lambda_is_beta():
    classes, indices = np.repeat([0, 1, 2], 4000), np.arange(12000)[::-1]
    partners, shares = partners_of(classes, indices, np.random.default_rng(0))
    class_of = dict(zip(indices.tolist(), classes.tolist()))
    assert all(class_of[p] == c for p, c in zip(partners.tolist(), classes.tolist()))
    assert shares.mean() == pytest.approx(1 / 1.1, abs=0.01), "mean of Beta(1, 0.1)"
    assert len(set(partners.tolist())) > 6000


def test_reweighting_is_the_meta_gradient(setting):
    """weights ~ max(0, -d clean loss / d eps), here by finite differences in float64, with batch
    norm in training mode."""
    from robustfl.training.steps.reweight import ReweightSteps

    spec, data, model = setting
    steps = ReweightSteps(
        model.double(), data, dataclasses.replace(spec, update_rule="reweight", num_clean=12)
    )
    images = data.images.plain(0, 6).double()
    clean = data.images.augmented(steps.clean, torch.full((108, 3), 4)).double()
    model.train()
    parameters = dict(model.named_parameters())
    lr = 0.05

    def clean_loss(eps):
        def logits(p, x):
            return functional_call(
                model, p | {n: b.clone() for n, b in model.named_buffers()}, (x,)
            )

        given = data.given_labels[:6]
        losses = F.cross_entropy(logits(parameters, images), given, reduction="none")
        slopes = torch.autograd.grad((eps * losses).sum(), list(parameters.values()))
        moved = {n: p - lr * g for (n, p), g in zip(parameters.items(), slopes)}
        return F.cross_entropy(logits(moved, clean), data.true_labels[steps.clean]).item()

    step = 1e-5
    slopes = [
        (clean_loss(step * e) - clean_loss(-step * e)) / (2 * step)
        for e in torch.eye(6, dtype=torch.float64)
    ]
    expected = np.maximum(0, -np.array(slopes))
    steps._virtual = lambda p, x: functional_call(
        model, p | {n: b.clone() for n, b in model.named_buffers()}, (x,)
    )
    weights = steps.weigh(images, data.given_labels[:6], clean, lr).detach().numpy()
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-3, atol=1e-5)


@pytest.fixture
def clusters(setting):
    from robustfl.training.steps.raw_clusters import RawClusterSteps

    spec, data, model = setting
    steps = RawClusterSteps(
        model, data, dataclasses.replace(spec, update_rule="raw_clusters", pretrained=True)
    )
    everything = torch.arange(len(data.given_labels))
    steps.snapshot = 0.1 * torch.randn(10, 65, generator=torch.Generator().manual_seed(1))
    steps.whole = steps._gradient(steps.snapshot, everything).mean(0)
    return (
        steps,
        everything,
        steps.snapshot + 0.05 * torch.randn(10, 65, generator=torch.Generator().manual_seed(2)),
    )


def test_raw_cluster_gradient_is_unbiased_for_any_zeta(clusters):
    steps, everything, now = clusters
    steps.zeta = torch.randn(steps.zeta.shape, generator=torch.Generator().manual_seed(3))
    mean = steps.estimate(now, everything).mean(0)
    torch.testing.assert_close(mean, steps._gradient(now, everything).mean(0), rtol=1e-4, atol=1e-5)


def test_raw_clusters_without_zeta_are_svrg(clusters):
    steps, everything, now = clusters
    index = everything[5:9]
    svrg = steps._gradient(now, index) - steps._gradient(steps.snapshot, index) + steps.whole
    torch.testing.assert_close(steps.estimate(now, index), svrg)
    assert steps.zeta.abs().sum() > 0, "zeta has learned"


def test_raw_cluster_gradient_is_autograd(clusters):
    steps, everything, now = clusters
    parameters = now.clone().requires_grad_()
    loss = F.cross_entropy(steps.inputs @ parameters.T, steps.data.given_labels)
    (expected,) = torch.autograd.grad(loss, parameters)
    torch.testing.assert_close(
        steps._gradient(now, everything).mean(0), expected, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"update_rule": "reweight", "num_clean": 20},
        {"update_rule": "raw_clusters", "pretrained": True, "lr": 0.05, "holdout": 0.0},
        {"method": "forgetting", "ratio": 0.4, "embedding": "forgetting", "pretrained": True},
    ],
    ids=["reweight", "raw_clusters", "forgetting"],
)
def test_baselines_run_and_go_on_to_the_bit(tiny, options, tmp_path, changes):
    spec = dataclasses.replace(tiny, noise="symmetric", noise_rate=0.4, epochs=3, **changes)
    options = dataclasses.replace(options, checkpoint_every=1)
    whole = run_to_record(spec, tmp_path / "whole", "run", options)

    def die(progress):
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_to_record(spec, tmp_path / "cut", "run", options, die)
    again = run_to_record(spec, tmp_path / "cut", "run", options)
    assert (tmp_path / "cut/curves.csv").read_bytes() == (
        tmp_path / "whole/curves.csv"
    ).read_bytes()
    assert whole["provenance"]["weights_hash"] == again["provenance"]["weights_hash"]
    first, last = (record.read(tmp_path / "whole", "run", spec).curves[i] for i in (0, -1))
    if spec.update_rule == "raw_clusters":
        assert last["train_loss"] < first["train_loss"], (
            "a convex problem is solved further each epoch"
        )


def test_curriculum_grows_to_its_end(tiny, options, tmp_path):
    spec = dataclasses.replace(
        tiny, epochs=5, warmup=1, method="facility_location", ratio=0.25, ratio_end=1.0
    )
    run_to_record(spec, tmp_path / "run", "run", options)
    sizes = [row["selected"] for row in record.read(tmp_path / "run", "run", spec).curves]
    assert sizes[0] == sizes[-1] == 108 and sizes[1] < sizes[2] < sizes[3] < sizes[4]
    assert sizes[1] == pytest.approx(0.25 * 108, abs=10)
