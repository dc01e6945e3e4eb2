"""Passes through the network without gradients: penultimate features of whole data sets, in eval mode."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from robustfl.training.augment import Images
from robustfl.training.resnet import ResNet

BATCH = {
    "cpu": 100,
    "cuda": 2000,
}  # images a forward pass: on a CPU activations must stay in its caches (half the time of 1000)


def autocast(device: torch.device, precision: str):
    """bf16 autocast, or nothing for fp32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


@torch.inference_mode()
def features(model: nn.Module, images: Images, precision: str = "fp32") -> torch.Tensor:
    """(n, d) float32 penultimate features of n >= 1 images without augmentation, on their device, in eval mode; the model's mode
    is restored.

    model: a module with `features`, see `models.ResNet`.
    """
    training = model.training
    device = images.pixels.device
    batch = BATCH[device.type]
    run = (
        _fused(model, precision)
        if device.type == "cpu" and _can_fuse(model, precision)
        else model.features
    )
    out = []
    model.eval()
    try:
        for start in range(0, len(images), batch):
            with autocast(device, precision):
                out.append(run(images.plain(start, start + batch)).float())
    finally:
        model.train(training)
    return torch.cat(out)


def _can_fuse(model: nn.Module, precision: str) -> bool:
    """Not another network than ResNet itself, nor bf16 where oneDNN has none. Nor a parameter that is not finite: oneDNN's ReLU
    turns NaN into 0, and what cannot be trusted would look sound."""
    if type(model) is not ResNet or not torch.backends.mkldnn.is_available():
        return False
    if precision == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return bool(
        nn.utils.get_total_norm(
            [t for t in model.state_dict().values() if t.is_floating_point()]
        ).isfinite()
    )


def _fused(model: ResNet, precision: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """`model.features` in eval mode with batch norm folded into the convolutions, and ReLU and the shortcut's sum done by
    oneDNN as it writes a convolution's output: less time (`make bench`), other rounding.

    The operations are those that torch.compile's CPU backend makes of a frozen model.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def folded(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple:
        """What follows the input (and the summand) in a call: weight, bias, padding, stride, dilation, groups."""
        weight, bias = fuse_conv_bn_weights(
            conv.weight, None, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
        )
        weight = weight.to(dtype, memory_format=torch.channels_last)
        return weight, bias.to(dtype), conv.padding, conv.stride, conv.dilation, conv.groups

    stem = folded(model.conv, model.bn)
    blocks = [
        (block, folded(block.conv1, block.bn1), folded(block.conv2, block.bn2))
        for block in model.blocks
    ]
    relu, sum_relu = (
        torch.ops.mkldnn._convolution_pointwise,
        torch.ops.mkldnn._convolution_pointwise_.binary,
    )

    def run(x: torch.Tensor) -> torch.Tensor:
        x = relu(x.to(dtype), *stem, "relu", [], "")
        for block, first, second in blocks:
            out = relu(x, *first, "relu", [], "")
            summand = block.shortcut(x).contiguous(
                memory_format=torch.channels_last
            )  # as the sum, done in its place, needs it
            x = sum_relu(summand, out, *second, "add", 1.0, "relu", [], "")
        return x.mean((2, 3), dtype=torch.float32)

    return run
