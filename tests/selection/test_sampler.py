"""CoresetSampler in an ordinary PyTorch loop."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import robustfl
from robustfl.selection.sampler import CoresetSampler, Indexed, logit_gradients

EXAMPLE = Path("examples/coreset_sampler.py")


@pytest.fixture
def setup():
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(60, 4, generator=generator), torch.arange(60) % 3
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 3))
    data = TensorDataset(inputs, labels)
    return inputs, labels, model, data, DataLoader(data, batch_size=25)


def test_selects_what_select_selects_from_the_gradients(setup):
    inputs, labels, model, _, loader = setup
    sampler = CoresetSampler(loader, model.train(), ratio=0.25, radius=0.1, shuffle=False)
    indices = list(sampler)
    assert model.training
    points = logit_gradients(model.eval(), inputs, labels).detach()
    expected = robustfl.select(points, labels, ratio=0.25, radius=0.1)
    assert indices == expected.indices.tolist() and len(sampler) == 15
    assert sampler.weights[indices].numpy() == pytest.approx(
        expected.weights / expected.weights.mean()
    )
    assert sampler.weights.count_nonzero() == 15


def test_logit_gradients_are_autograds(setup):
    inputs, labels, model, _, _ = setup
    logits = model.eval()(inputs).detach().requires_grad_()
    nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
    assert torch.allclose(logit_gradients(model, inputs, labels), logits.grad, atol=1e-6)


def test_warmup_interval_and_order(setup):
    inputs, _, model, data, loader = setup
    sampler = CoresetSampler(loader, model, ratio=0.3, every=3, warmup=2, method="random", seed=1)
    again = CoresetSampler(loader, model, ratio=0.3, every=3, warmup=2, method="random", seed=1)
    epochs = [list(sampler) for _ in range(9)]
    assert epochs == [list(again) for _ in range(9)]
    assert [len(e) for e in epochs] == [60, 60] + [18] * 7
    kept = [frozenset(e) for e in epochs]
    assert kept[2] == kept[3] == kept[4] != kept[5] == kept[6] == kept[7] != kept[8]
    assert epochs[2] != epochs[3] and epochs[0] != epochs[1]
    x, y, index = next(iter(DataLoader(Indexed(data), batch_size=5, sampler=sampler)))
    assert torch.equal(x, inputs[index]) and len(Indexed(data)) == 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"every": 0}, "every must be a whole number >= 1; got 0"),
        ({"warmup": -1}, "warmup must be a whole number >= 0; got -1"),
        ({"ratio": 2.0}, r"ratio must be in \(0, 1\]; got 2.0"),
        ({"loader": {"shuffle": True}}, "loader must go through the whole dataset in order"),
        ({"loader": {"drop_last": True}}, "loader must go through the whole dataset in order"),
    ],
)
def test_bad_arguments_are_named(setup, change, message):
    _, _, model, data, loader = setup
    options = {"ratio": 0.5, **change}
    if "loader" in options:
        loader = DataLoader(data, batch_size=25, **options.pop("loader"))
    with pytest.raises(ValueError, match=message):
        list(CoresetSampler(loader, model, **options))


def test_the_example_trains_in_under_40_lines():
    assert len(EXAMPLE.read_text().splitlines()) < 40
    done = subprocess.run(
        [sys.executable, EXAMPLE], capture_output=True, text=True, env={"PYTHONPATH": "."}
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert "trained on 358 of 900 points" in last and float(last.split()[-1]) > 0.7
