"""GraphSteps against EagerSteps.

The bookkeeping is compared on any device, the graph itself where there is a CUDA device.
"""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from robustfl import cuda
from robustfl.execution.preparation import Options, new_model, prepare
from robustfl.execution.run import train_or_resume
from robustfl.training import augment
from robustfl.training.epoch_plan import Plan
from robustfl.training.steps.cuda_graph import GraphSteps
from robustfl.training.steps.eager import EagerSteps


class Replayed(GraphSteps):
    """Everything but the capture: a replay runs the step again.

    Shows that order, counter, last batch, warm-up and totals are right.
    """

    def _capture(self):
        return self._full_step


def train_both(spec, kinds, device, tmp_path, epochs=2, track=False):
    """For each kind of steps: totals, final parameters and forgetting scores of a few epochs."""
    results = []
    device = torch.device(device)
    for kind in kinds:
        with cuda.exclusive_stream(device):
            data, _ = prepare(spec, Options(cache=str(tmp_path)), device)
            model = new_model(spec, device)
            steps = kind(model, data, spec, track)
            totals = []
            for epoch in range(1, epochs + 1):
                generator = torch.Generator().manual_seed(epoch)
                order = torch.randperm(len(data.images), generator=generator)
                order = order[: 100 - epoch].to(device)
                weights = torch.linspace(0.5, 1.5, len(order), device=device)
                crops = augment.draw_crops(0, epoch, len(data.images)).to(device)
                mix = (order.flip(0), weights / 2) if spec.mixup else (None, None)
                totals.append(steps.run_epoch(Plan(order, weights, crops, 0.1 / epoch, *mix)))
            assert kind is not GraphSteps or steps.graph is not None  # it did not fall back

            scores = steps.forgetting.scores(99).tolist() if track else []
            steps.close()
            parameters = [p.detach().cpu() for p in model.parameters()]
            results.append((torch.stack(totals).cpu(), parameters, scores))
    return results


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_bookkeeping_is_that_of_eager_steps(tiny, tmp_path, optimizer):
    spec = dataclasses.replace(tiny, optimizer=optimizer, lr=0.01, mixup=optimizer == "sgd")
    (eager, p, _), (graph, q, _) = train_both(spec, (EagerSteps, Replayed), "cpu", tmp_path)
    torch.testing.assert_close(eager, graph, rtol=1e-3, atol=1e-3)
    for a, b in zip(p, q):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_forgetting_is_tracked_as_by_eager_steps(tiny, tmp_path):
    (_, _, expected), (_, _, scores) = train_both(
        tiny, (EagerSteps, Replayed), "cpu", tmp_path, epochs=4, track=True
    )
    assert scores == expected and 0 < sum(score < 99 for score in scores)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_graph_is_eager_on_a_gpu(tiny, tmp_path, optimizer, precision):
    spec = dataclasses.replace(tiny, optimizer=optimizer, lr=0.01, precision=precision)
    (eager, p, _), (graph, q, _) = train_both(spec, (EagerSteps, GraphSteps), "cuda", tmp_path)
    torch.testing.assert_close(eager, graph, rtol=1e-2, atol=1e-2)
    for a, b in zip(p, q):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.skipif(
    "CUBLAS_WORKSPACE_CONFIG" not in os.environ, reason="needs CUBLAS_WORKSPACE_CONFIG=:4096:8"
)
def test_graph_of_a_tracked_run_under_deterministic_algorithms(tiny, tmp_path, deterministic):
    (eager, p, expected), (graph, q, scores) = train_both(
        tiny, (EagerSteps, GraphSteps), "cuda", tmp_path, track=True
    )
    torch.testing.assert_close(eager, graph, rtol=1e-2, atol=1e-2)
    assert scores == expected


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.skipif(
    "CUBLAS_WORKSPACE_CONFIG" not in os.environ, reason="needs CUBLAS_WORKSPACE_CONFIG=:4096:8"
)
def test_runs_at_once_are_those_one_after_another(tiny, tmp_path, deterministic):
    """Four runs in threads, captured and replayed beside each other, and each by itself."""
    specs = [
        dataclasses.replace(tiny, seed=seed, method="facility_location", ratio=0.5)
        for seed in range(4)
    ]

    def last_loss(spec):
        return train_or_resume(
            spec, tmp_path / f"{spec.seed}.ckpt", Options(cache=str(tmp_path))
        ).progress.curves[-1]["train_loss"]

    alone = [last_loss(spec) for spec in specs]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(last_loss, specs))
    assert together == pytest.approx(alone, rel=1e-3)
