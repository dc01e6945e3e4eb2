"""pytest-benchmark cases of training (`make bench`); skipped by `make test`, and never a bound on time."""

import dataclasses

import os
import subprocess
import sys

import pytest
import torch

from robustfl import augment, gradients, inference
from robustfl.run import Options, new_model, prepare
from robustfl.spec import RunSpec
from robustfl.steps import EagerSteps, Plan

CPU = torch.device("cpu")
SPEC = RunSpec(sample=True, model="resnet20", batch_size=128)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare(SPEC, Options(cache=str(tmp_path_factory.mktemp("cache"))), CPU)[0]


def test_bench_augmentation_of_a_batch(benchmark, data):
    crops, index = augment.draw_crops(0, 0, len(data.images)), torch.arange(128)
    batch = benchmark(data.images.augmented, index, crops)
    assert batch.shape == (128, 3, 32, 32)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_bench_training_step(benchmark, data, precision):
    spec = dataclasses.replace(SPEC, precision=precision)
    steps = EagerSteps(new_model(spec, CPU), data, spec)
    plan = Plan(torch.arange(128), torch.ones(128), augment.draw_crops(0, 0, len(data.images)), 0.01)
    totals = benchmark(steps.epoch, plan)
    assert torch.isfinite(totals).all()


@pytest.mark.parametrize("way", ["fused", "plain"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_bench_gradient_pass(benchmark, data, precision, way, monkeypatch):
    if way == "plain":
        monkeypatch.setattr(inference, "_can_fuse", lambda model, precision: False)
    points = benchmark(gradients.points, new_model(SPEC, CPU), data.images, data.given, "gradient", precision)
    assert points.shape == (len(data.images), 64)


def test_the_gpu_benchmark_can_be_tried_without_one(tmp_path):
    command = [sys.executable, "benchmarks/bench_steps.py", "--device", "cpu", "--images", "32", "--out", str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "training-gpu.md").read_text()
    assert "| 32 | eager | 1 |" in page and "failed" not in page and "deterministic algorithms over" in page
