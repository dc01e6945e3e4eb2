"""pytest-benchmark cases of training (`make bench`); `make test` skips them, none bounds a time."""

import dataclasses
import importlib
import os
import subprocess
import sys

import pytest
import torch

from robustfl.execution.precision import Choice
from robustfl.execution.preparation import Options, new_model, prepare
from robustfl.study.run_spec import RunSpec
from robustfl.training import augment, embeddings, inference
from robustfl.training.epoch_plan import Plan
from robustfl.training.steps.eager import EagerSteps

CPU = torch.device("cpu")
SPEC = RunSpec(use_sample=True, model="resnet20", batch_size=128)


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
    plan = Plan(
        torch.arange(128), torch.ones(128), augment.draw_crops(0, 0, len(data.images)), 0.01
    )
    totals = benchmark(steps.run_epoch, plan)
    assert torch.isfinite(totals).all()


@pytest.mark.parametrize("way", ["fused", "plain"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_bench_gradient_pass(benchmark, data, precision, way, monkeypatch):
    if way == "plain":
        monkeypatch.setattr(inference, "_can_fuse", lambda model, precision: False)
    points = benchmark(
        embeddings.points,
        new_model(SPEC, CPU),
        data.images,
        data.given_labels,
        "gradient",
        precision,
    )
    assert points.shape == (len(data.images), 64)


def test_the_gpu_benchmark_can_be_tried_without_one(tmp_path):
    command = [
        sys.executable,
        "benchmarks/bench_steps.py",
        "--device",
        "cpu",
        "--images",
        "32",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "training-gpu.md").read_text()
    assert (
        "| 32 | eager | 1 |" in page
        and "failed" not in page
        and "deterministic algorithms over" in page
    )


@pytest.fixture
def bench_train(monkeypatch):
    monkeypatch.syspath_prepend("benchmarks")
    return importlib.import_module("bench_train")


@pytest.mark.parametrize("fp32, bf16, faster", [(155e9, 83e9, "fp32"), (140e9, 350e9, "bf16")])
def test_the_bound_is_that_of_the_faster_matrix_product(
    bench_train, monkeypatch, fp32, bf16, faster
):
    monkeypatch.setattr(
        bench_train, "matmul_speed", {torch.float32: fp32, torch.bfloat16: bf16}.get
    )
    forward, step = bench_train.flops_of_an_image()
    assert 2.9 < step / forward < 3.0  # without the gradient of the image itself
    bound, epoch = max(fp32, bf16) / step, 6000 * (1.2 * forward + step / 2) / max(fp32, bf16)

    training = {"ours, fp32": 3000 / bound, "ours, bf16": 4 * 3000 / bound}
    text, _, _, _, *rows = bench_train.ceiling(6000, 30.0, training)
    assert f"At {faster}'s speed" in text and f"{bound:.0f} images/s" in text
    assert f"take {epoch:.1f} s: {30.0 / epoch:.2f} times the reference loop's speed" in text
    assert rows == [
        f"| ours, fp32 | {bound:.0f} | 100 % |",
        f"| ours, bf16 | {bound / 4:.0f} | 25 % |",
    ]


@pytest.mark.parametrize(
    "choice, says",
    [
        (Choice("fp32", {"fp32": 0.07, "bf16": 0.1}, 16), "takes fp32 here: its probe measured 70"),
        (Choice("bf16", {"fp32": 0.2, "bf16": 0.1}, 32), "32 images in fp32 and 100.0 ms in bf16"),
        (Choice("bf16", {"fp32": 0.2, "bf16": 0.1}, 32), "2.00 times fp32's speed"),
        (Choice("fp32", {}, 0), "takes fp32 here: the processor has no bf16"),
    ],
)
def test_the_page_says_what_auto_takes_and_why(bench_train, monkeypatch, choice, says):
    monkeypatch.setattr(bench_train, "choose", lambda *given: choice)
    assert says in bench_train.chosen("cache")
