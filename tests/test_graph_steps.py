"""GraphSteps against EagerSteps: its bookkeeping on any device, the graph itself where there is a CUDA device."""

import dataclasses
from contextlib import nullcontext

import pytest
import torch

from robustfl import augment
from robustfl.graph_steps import GraphSteps
from robustfl.run import Options, new_model, prepare
from robustfl.steps import EagerSteps, Plan


class Replayed(GraphSteps):
    """Everything but the recording: a replay runs the step again. Shows order, counter, tail, warm-up and totals."""

    def _own_stream(self):
        return nullcontext()

    def _record(self):
        class Graph:
            replay = self._full_step

        return Graph


def train_both(spec, kinds, device, tmp_path, epochs=2):
    """The totals and final parameters of a few epochs, for each kind of steps."""
    results = []
    for kind in kinds:
        data, _ = prepare(spec, Options(cache=str(tmp_path)), torch.device(device))
        model = new_model(spec, torch.device(device))
        steps, totals = kind(model, data, spec), []
        for epoch in range(1, epochs + 1):
            order = torch.randperm(len(data.images), generator=torch.Generator().manual_seed(epoch))[: 100 - epoch].to(device)
            weights = torch.linspace(0.5, 1.5, len(order), device=device)
            crops = augment.draw_crops(0, epoch, len(data.images)).to(device)
            mix = (order.flip(0), weights / 2) if spec.mix else (None, None)
            totals.append(steps.epoch(Plan(order, weights, crops, 0.1 / epoch, *mix)))
        results.append((torch.stack(totals).cpu(), [p.detach().cpu() for p in model.parameters()]))
    return results


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_bookkeeping_is_that_of_eager_steps(tiny, tmp_path, optimizer):
    spec = dataclasses.replace(tiny, optimizer=optimizer, lr=0.01, mix=optimizer == "sgd")
    (eager, p), (graph, q) = train_both(spec, (EagerSteps, Replayed), "cpu", tmp_path)
    torch.testing.assert_close(eager, graph, rtol=1e-3, atol=1e-3)
    for a, b in zip(p, q):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_graph_is_eager_on_a_gpu(tiny, tmp_path, optimizer, precision):
    spec = dataclasses.replace(tiny, optimizer=optimizer, lr=0.01, precision=precision)
    (eager, p), (graph, q) = train_both(spec, (EagerSteps, GraphSteps), "cuda", tmp_path)
    torch.testing.assert_close(eager, graph, rtol=1e-2, atol=1e-2)
    for a, b in zip(p, q):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)
