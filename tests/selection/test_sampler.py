"""CoresetSampler in an ordinary PyTorch loop."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

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


# settings: a mistake is told before the first epoch


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "no such"}, "method must be one of"),
        ({"metrics": "cosine"}, "options of method='facility_location' must be among"),
        ({"metric": "l1"}, "metric must be one of"),
        ({"metric": "precomputed"}, "points must be given for metric='precomputed'"),
        ({"radius": -1}, "radius must be a finite number >= 0; got -1"),
        ({"weights": "ball"}, "radius must be given for weights='ball'"),
        ({"engine": "gpu"}, "engine must be one of"),
        ({"epsilon": 2}, r"epsilon must be in \(0, 1\); got 2"),
        ({"memory": float("nan")}, "memory must be a finite number of bytes > 0; got nan"),
        ({"seed": None}, "seed must be a whole number >= 0; got None"),
        ({"every": 1.5}, "every must be a whole number >= 1; got 1.5"),
        ({"warmup": True}, "warmup must be a whole number >= 0; got True"),
        ({"shuffle": "x"}, "shuffle must be True or False; got 'x'"),
        ({"points": 3}, "points must be a function or None; got 3"),
        ({"rank": 1}, "rank and num_replicas must be given together; got 1 and None"),
        ({"rank": 2, "num_replicas": 2}, "rank must be below num_replicas; got 2 of 2"),
    ],
)
def test_settings_are_checked_when_they_are_given(setup, change, message):
    _, _, model, _, loader = setup
    with pytest.raises(ValueError, match=message):
        CoresetSampler(loader, model, **{"ratio": 0.5, "warmup": 3, **change})
    with pytest.raises(ValueError, match="model must be a torch.nn.Module; got 3"):
        CoresetSampler(loader, 3, ratio=0.5)


# the loader: only one whose order is known, and every sample once


class Stream(IterableDataset):
    """Samples without positions."""

    def __len__(self):
        return 60

    def __iter__(self):
        return iter([(torch.zeros(4), 0)] * 60)


def loaders(data) -> dict[str, DataLoader]:
    """Loaders whose order nobody knows, by what is wrong with them."""
    order = SequentialSampler(data)
    return {
        "RandomSampler": DataLoader(
            data, batch_sampler=BatchSampler(RandomSampler(data), 25, False)
        ),
        "drop_last=True": DataLoader(data, batch_sampler=BatchSampler(order, 25, True)),
        "over SequentialSampler": DataLoader(data, sampler=SequentialSampler(range(60))),
        "list over NoneType": DataLoader(data, batch_sampler=[[2, 0], [1]]),
        "_InfiniteConstantSampler": DataLoader(Stream(), batch_size=25),
        "batch_size=None": DataLoader(data, batch_size=None),
    }


def test_a_loader_of_unknown_order_is_refused(setup):
    _, _, model, data, _ = setup
    for found, loader in loaders(data).items():
        with pytest.raises(ValueError, match=f"loader must .*; got .*{found}"):
            CoresetSampler(loader, model, ratio=0.5)
    with pytest.raises(ValueError, match=r"loader must be a DataLoader; got \[1, 2\]"):
        CoresetSampler([1, 2], model, ratio=0.5)
    with pytest.raises(ValueError, match="loader must have a dataset of at least one sample"):
        CoresetSampler(DataLoader(TensorDataset(*data[:0])), model, ratio=0.5)
    own = DataLoader(data, batch_sampler=BatchSampler(SequentialSampler(data), 25, False))
    assert len(list(CoresetSampler(own, model, ratio=0.5))) == 30


class Pairs(Dataset):
    """Samples made by a function of the position."""

    def __init__(self, sample) -> None:
        self.sample = sample

    def __len__(self):
        return 60

    def __getitem__(self, index):
        return self.sample(index)


def present(batch: list):
    return default_collate([sample for sample in batch if sample is not None])


def test_what_a_loader_gives_is_looked_at(setup):
    inputs, labels, model, data, _ = setup

    def select_from(dataset, network=model, **options):
        list(CoresetSampler(DataLoader(dataset, batch_size=25, **options), network, ratio=0.5))

    with pytest.raises(ValueError, match="each of the 60 samples once; got 54 in a pass"):
        holes = Pairs(lambda i: None if i % 10 == 3 else data[i])
        select_from(holes, collate_fn=present)
    with pytest.raises(ValueError, match="each of the 60 samples once; got 75 or more in a pass"):
        select_from(data, collate_fn=lambda batch: default_collate(3 * batch))
    with pytest.raises(ValueError, match="loader must keep the order of the dataset"):
        select_from(Indexed(data), collate_fn=lambda batch: default_collate(batch[::-1]))
    with pytest.raises(
        ValueError, match="start with .inputs, labels.; got dict with the keys a, b"
    ):
        select_from(Pairs(lambda i: {"a": inputs[i], "b": labels[i]}))
    with pytest.raises(ValueError, match="start with .inputs, labels.; got list of 1"):
        select_from(TensorDataset(inputs))
    with pytest.raises(ValueError, match="inputs as tensors, or with a method `to`; got list"):
        select_from(Pairs(lambda i: (["a"], 0)))
    select_from(Indexed(data))


@pytest.mark.parametrize("kind", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_labels_of_every_integer_type_select_alike(setup, kind):
    inputs, labels, model, data, loader = setup
    other = DataLoader(TensorDataset(inputs, labels.to(kind)), batch_size=25)
    one, two = (CoresetSampler(given, model, ratio=0.25) for given in (loader, other))
    assert list(one) == list(two)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y > 0, r"labels must be \(b,\) integers in each batch; .* dtype bool"),
        (lambda y: y.float(), r"labels must be \(b,\) integers in each batch; .* dtype float32"),
        (lambda y: y[:, None], r"labels must be \(b,\) integers in each batch; .*shape \(25, 1\)"),
        (lambda y: y - 1, r"labels must lie in \[0, 3\), the outputs of the model; got -1 to 1"),
        (lambda y: y + 2, r"labels must lie in \[0, 3\), the outputs of the model; got 2 to 4"),
    ],
)
def test_labels_that_are_none_are_named(setup, change, message):
    inputs, labels, model, _, _ = setup
    loader = DataLoader(TensorDataset(inputs, change(labels)), batch_size=25)
    with pytest.raises(ValueError, match=message):
        list(CoresetSampler(loader, model, ratio=0.5))


# the model


class Wrapped(nn.Module):
    """Without parameters of its own; its answer is made by a function."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, inputs):
        return self.answer(inputs)


def test_models_without_logits_are_named_and_can_be_given_points(setup):
    _, _, _, _, loader = setup
    for answer, found in (
        (lambda x: (x, x), "got tuple"),
        (lambda x: {"logits": x}, "got dict"),
        (lambda x: x[:, :1], r"got \(25, 1\)"),
    ):
        with pytest.raises(ValueError, match=f"model must return .b, c. logits.*{found}"):
            list(CoresetSampler(loader, Wrapped(answer), ratio=0.5))
    model = Wrapped(lambda x: (x, x))
    sampler = CoresetSampler(loader, model, ratio=0.5, points=lambda m, x, y: m(x)[0].numpy())
    assert len(list(sampler)) == 30
    with pytest.raises(
        ValueError, match=r"points must return \(25, d\) values.*got shape \(1, 4\)"
    ):
        list(CoresetSampler(loader, model, ratio=0.5, points=lambda m, x, y: x[:1]))


@pytest.mark.parametrize("fails", [False, True])
def test_each_module_keeps_its_mode(setup, fails):
    _, _, _, _, loader = setup
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3)).train()
    model[1].eval()
    before = [module.training for module in model.modules()]
    sampler = CoresetSampler(loader, model, ratio=0.5, points=(lambda *_: 1 / 0) if fails else None)
    if fails:
        with pytest.raises(ZeroDivisionError):
            list(sampler)
    else:
        list(sampler)
    assert [module.training for module in model.modules()] == before and not model[1].training


def test_a_model_that_is_sure_selects_by_the_direction_of_its_gradients(setup):
    """p - y rounds to zero; its direction, which cosine asks for, is that of the other classes."""
    logits = torch.tensor([[900.0, 1.0, 0.0], [0.0, 1.0, 900.0]])
    gradient = logit_gradients(nn.Identity(), logits, torch.tensor([0, 2]))
    e = float(np.exp(1))
    assert torch.allclose(
        gradient / gradient[[0, 1], [0, 2]].abs()[:, None],
        torch.tensor([[-1, e / (1 + e), 1 / (1 + e)], [1 / (1 + e), e / (1 + e), -1]]),
    )
    assert gradient.abs().max() < 1e-29

    inputs, labels, _, _, _ = setup
    loader = DataLoader(TensorDataset(900 * nn.functional.one_hot(labels, 4) + inputs, labels))
    sampler = CoresetSampler(loader, nn.Identity(), ratio=0.5, metric="cosine")
    assert len(list(sampler)) == 30


# length and state


@pytest.mark.parametrize("method", ["facility_location", "full", "set_cover"])
def test_the_length_is_that_of_the_coming_epoch(setup, method):
    _, _, model, data, loader = setup
    sampler = CoresetSampler(loader, model, ratio=0.29, every=2, warmup=1, method=method)
    batches = DataLoader(Indexed(data), batch_size=7, sampler=sampler)
    for _ in range(5):
        planned = len(batches)
        assert sum(1 for _ in batches) == planned


def test_a_sampler_that_resumes_goes_on_as_if_it_had_not_stopped(setup):
    _, _, model, _, loader = setup

    def sampler():
        return CoresetSampler(loader, model, ratio=0.3, every=3, warmup=1, radius=1.0, seed=2)

    first = sampler()
    whole = [(len(first), list(first), first.weights.clone()) for _ in range(8)]
    for stop in range(8):
        interrupted = sampler()
        for _ in range(stop):
            list(interrupted)
        file = io.BytesIO()
        torch.save(interrupted.state_dict(), file)
        file.seek(0)

        resumed = sampler()
        resumed.load_state_dict(torch.load(file, weights_only=True))
        for length, positions, weights in whole[stop:]:
            assert (len(resumed), list(resumed)) == (length, positions)
            assert torch.equal(resumed.weights, weights)


def test_any_epoch_can_be_set(setup):
    _, _, model, _, loader = setup
    sampler = CoresetSampler(loader, model, ratio=0.3, every=3, warmup=1)
    epochs = [list(sampler) for _ in range(6)]
    sampler.set_epoch(4)
    next(iter(sampler))  # a look that does not count
    sampler.set_epoch(4)
    assert list(sampler) == epochs[4] and list(sampler) == epochs[5]
    sampler.set_epoch(0)
    assert list(sampler) == epochs[0] and (sampler.weights == 1).all()

    # without the state of the epochs before, an epoch after the warm-up selects
    alone = CoresetSampler(loader, model, ratio=0.3, every=3, warmup=1)
    alone.set_epoch(3)
    assert len(alone) == len(list(alone)) == 18
    for epoch in (-1, 1.5, None):
        with pytest.raises(ValueError, match="epoch must be a whole number >= 0"):
            alone.set_epoch(epoch)


def test_a_state_of_another_dataset_is_refused(setup):
    _, _, model, data, loader = setup
    state = CoresetSampler(loader, model, ratio=0.3).state_dict()
    other = CoresetSampler(DataLoader(TensorDataset(*data[:50])), model, ratio=0.3)
    with pytest.raises(ValueError, match="state must be of a dataset of 50 samples; got 60"):
        other.load_state_dict(state)
    with pytest.raises(ValueError, match="state must be what state_dict returned; got {'epoch'"):
        other.load_state_dict({"epoch": 3})


# several processes


def test_given_ranks_get_disjoint_shares_of_the_same_selection(setup):
    _, _, model, _, loader = setup

    def sampler(**options):
        return CoresetSampler(loader, model, ratio=0.3, warmup=1, **options)

    alone, shares = sampler(), [sampler(rank=r, num_replicas=4) for r in range(4)]
    for _ in range(3):
        whole = list(alone)
        lengths = [len(share) for share in shares]
        parts = [list(share) for share in shares]
        assert [len(part) for part in parts] == lengths == 4 * [len(whole) // 4]
        together = [p for places in zip(*parts) for p in places]
        assert together == whole[: len(together)] and len(whole) - len(together) < 4
        assert torch.equal(shares[0].weights, alone.weights)
    few = CoresetSampler(loader, model, ratio=0.01, rank=0, num_replicas=4)
    with pytest.raises(ValueError, match="num_replicas must be at most the 3 positions.*got 4"):
        list(few)


def test_what_shards_again_is_refused(setup):
    _, _, model, _, loader = setup
    sampler = CoresetSampler(loader, model, ratio=0.3)
    with pytest.raises(ValueError, match="must not be given to what shards it again; got Dist"):
        DistributedSampler(sampler, num_replicas=2, rank=0)


def _process(rank: int, folder: str) -> None:
    """Two processes whose models differ in a BatchNorm's statistics, as under DDP."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(61, 4, generator=generator), torch.arange(61) % 3
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
    model[0].running_mean += 3 * rank
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=25)
    sampler = CoresetSampler(loader, model, ratio=0.3, warmup=1)
    epochs = [(len(sampler), list(sampler), sampler.weights.clone()) for _ in range(3)]

    # what only rank 0 sees when it selects is raised by both, and neither waits for the other
    points = (lambda m, x, y: x) if rank else (lambda m, x, y: x * torch.nan)
    spoiled = CoresetSampler(loader, model, ratio=0.3, points=points)
    try:
        list(spoiled)
        error = ""
    except ValueError as raised:
        error = str(raised)
    torch.save((epochs, error), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_processes_select_alike_and_share(tmp_path):
    torch.multiprocessing.spawn(_process, (str(tmp_path),), 2)
    (one, error), (two, same) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert error == same and error.startswith("points must be finite; got nan")
    for (length, mine, weights), (other_length, others, other_weights) in zip(one, two):
        assert length == other_length == len(mine) == len(others)
        assert not set(mine) & set(others) and torch.equal(weights, other_weights)
        assert len(mine) + len(others) in (60, 18)
        assert (weights[mine] > 0).all() and (weights[others] > 0).all()


def test_indexed_samples_that_are_dicts_keep_their_keys(setup):
    inputs, labels, _, _, _ = setup
    data = Indexed(Pairs(lambda i: {"x": inputs[i], "y": labels[i]}))
    batch = next(iter(DataLoader(data, batch_size=5)))
    assert list(batch) == ["x", "y", "index"] and batch["index"].tolist() == list(range(5))


def test_the_example_trains_in_under_40_lines():
    assert len(EXAMPLE.read_text().splitlines()) < 40
    done = subprocess.run(
        [sys.executable, EXAMPLE], capture_output=True, text=True, env={"PYTHONPATH": "."}
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert "trained on 358 of 900 points" in last and float(last.split()[-1]) > 0.7
