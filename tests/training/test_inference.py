"""Passes without gradients: fused ones on a CPU are those of the plain network."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from robustfl.training import inference, resnet
from robustfl.training.augment import Images
from robustfl.training.metrics import evaluate

CASES = [
    ("resnet8", 3, 32),
    ("resnet14", 3, 32),
    ("resnet8_stride2", 3, 32),
    ("resnet8", 1, 28),
    ("resnet14_stride2", 1, 28),
]


def trained(name: str, channels: int) -> resnet.ResNet:
    """A network whose batch norms have something to fold."""
    model, g = resnet.build(name, channels, 10, seed=0), torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=g)
            module.running_var.uniform_(0.5, 2, generator=g)
            module.weight.data.uniform_(0.3, 1.2, generator=g)
            module.bias.data.normal_(0, 0.3, generator=g)
    return model.to(memory_format=torch.channels_last)


def some_images(n: int, channels: int, size: int) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (n, channels, size, size), dtype=np.uint8)
    return Images.of(pixels, (0.5,) * channels, (0.25,) * channels)


@torch.no_grad()
def plain(model: resnet.ResNet, images: Images, precision: str = "fp32") -> torch.Tensor:
    model.eval()
    with inference.autocast(torch.device("cpu"), precision):
        return model.features(images.plain(0, len(images))).float()


@pytest.mark.parametrize(("name", "channels", "size"), CASES)
def test_fused_is_plain(name, channels, size, monkeypatch):
    monkeypatch.setitem(inference.BATCH, "cpu", 10)  # whole batches and a tail
    model, images = trained(name, channels), some_images(23, channels, size)
    torch.testing.assert_close(
        inference.features(model, images), plain(model, images), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("name", "channels", "size"), CASES)
def test_fused_bf16_is_as_near_to_fp32_as_autocast(name, channels, size):
    model, images = trained(name, channels), some_images(23, channels, size)
    exact = plain(model, images)
    fused, cast = (
        (f - exact).norm() / exact.norm()
        for f in (inference.features(model, images, "bf16"), plain(model, images, "bf16"))
    )
    assert 0 < fused < 1.5 * cast < 0.03


def test_any_network_with_features_will_do():
    class Wrapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def features(self, x):
            return self.inner.features(x)

    model, images = trained("resnet8", 3), some_images(7, 3, 32)
    torch.testing.assert_close(inference.features(Wrapped(model), images), plain(model, images))


def test_a_network_derived_from_ours_keeps_its_own_features():
    class Scaled(resnet.ResNet):
        def features(self, x):
            return 2 * super().features(x)

    model, images = trained("resnet8", 3), some_images(7, 3, 32)
    scaled = Scaled(8, 3, 10)
    scaled.load_state_dict(model.state_dict())
    torch.testing.assert_close(inference.features(scaled, images), 2 * plain(model, images))


def test_bf16_runs_on_a_processor_without_it():
    """As autocast does there; oneDNN is told to be such a processor's."""
    code = """
import torch
from test_inference import inference, plain, some_images, trained

torch.set_num_threads(1)
model, images = trained("resnet8", 3), some_images(7, 3, 32)
features = inference.features(model, images, "bf16")
torch.testing.assert_close(features, plain(model, images), rtol=0.1, atol=0.1)
"""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": "tests/training"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_mode_is_restored_after_an_error():
    model = trained("resnet8", 3).train()
    with pytest.raises(RuntimeError):
        inference.features(model, some_images(3, 1, 32))
    assert model.training


def test_the_network_is_left_as_it_was():
    model, images = trained("resnet8", 3).train(), some_images(7, 3, 32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inference.features(model, images)
    assert model.training and all(
        torch.equal(before[name], value) for name, value in model.state_dict().items()
    )


@pytest.mark.parametrize("where", ["bn.running_mean", "conv.weight", "blocks.2.bn2.bias"])
def test_a_network_that_is_not_finite_gives_features_that_are_not(where):
    """So that selection refuses it; oneDNN's ReLU would turn NaN into 0."""
    model, images = trained("resnet8", 3), some_images(3, 3, 32)
    model.state_dict()[where][0] = torch.nan
    assert inference.features(model, images).isnan().any()


def test_evaluation_is_that_of_the_plain_network():
    model, images = trained("resnet8", 3), some_images(40, 3, 32)
    logits = model.fc(plain(model, images)).detach()
    labels = torch.where(torch.arange(40) % 2 == 0, logits.argmax(1), torch.arange(40) % 10)
    # the rank of the label's logit; 0: it is the largest
    place = (logits > logits.gather(1, labels[:, None])).sum(1)
    measured = evaluate(model, images, labels)
    assert measured["loss"] == pytest.approx(
        nn.functional.cross_entropy(logits, labels).item(), rel=1e-5
    )
    assert (measured["top1"], measured["top5"]) == tuple(
        100 * (place < k).double().mean().item() for k in (1, 5)
    )
