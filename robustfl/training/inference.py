"""Passes through the network without gradients: penultimate features of whole data sets."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeGuard, cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from robustfl.training.augment import Images
from robustfl.training.resnet import Block, ResNet, feature_function

# Images per forward pass: on a CPU activations must stay in its caches (half the time of 1000).
BATCH = {"cpu": 100, "cuda": 2000}


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """bf16 autocast, or nothing for fp32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


@torch.inference_mode()
def features(model: nn.Module, images: Images, precision: str = "fp32") -> torch.Tensor:
    """(n, d) float32 penultimate features of n >= 1 images, on the images' device.

    The images are not augmented; the model runs in eval mode, and its own mode is restored.

    model: a module with `features`, see `resnet.ResNet`.
    """
    training = model.training
    device = images.pixels.device
    batch = BATCH[device.type]
    run = feature_function(model)
    if device.type == "cpu" and _can_fuse(model, precision):
        run = _fused(model, precision)

    parts = []
    model.eval()
    try:
        for start in range(0, len(images), batch):
            with autocast(device, precision):
                parts.append(run(images.plain(start, start + batch)).float())
    finally:
        model.train(training)
    return torch.cat(parts)


def _can_fuse(model: nn.Module, precision: str) -> TypeGuard[ResNet]:
    """True only for ResNet itself, with finite parameters, and for bf16 only where oneDNN has it.

    oneDNN's ReLU turns NaN into 0, so that the features of a ruined network would look sound.
    """
    if type(model) is not ResNet or not torch.backends.mkldnn.is_available():
        return False
    if precision == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    state = [t for t in model.state_dict().values() if t.is_floating_point()]
    return bool(nn.utils.get_total_norm(state).isfinite())


def _fused(model: ResNet, precision: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """`model.features` in eval mode, in less time (`make bench`) and with other rounding.

    Batch norm is folded into the convolutions; ReLU and the sum with the shortcut are done by
    oneDNN while it writes a convolution's output. The operations are those that torch.compile's
    CPU backend makes of a frozen model.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def folded(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple:
        """Weight, bias, padding, stride, dilation and groups, as a call takes them."""
        mean = cast(torch.Tensor, bn.running_mean)  # ResNet's batch norms track both
        variance = cast(torch.Tensor, bn.running_var)
        weight, bias = fuse_conv_bn_weights(
            conv.weight, None, mean, variance, bn.eps, bn.weight, bn.bias
        )
        shape = conv.padding, conv.stride, conv.dilation, conv.groups
        return weight.to(dtype, memory_format=torch.channels_last), bias.to(dtype), *shape

    # folded once per call, as the model goes on training between calls
    stem = folded(model.conv, model.bn)
    blocks = [
        (block, folded(block.conv1, block.bn1), folded(block.conv2, block.bn2))
        for block in cast(list[Block], model.blocks)
    ]
    relu = torch.ops.mkldnn._convolution_pointwise
    sum_relu = torch.ops.mkldnn._convolution_pointwise_.binary

    def run(x: torch.Tensor) -> torch.Tensor:
        x = relu(x.to(dtype), *stem, "relu", [], "")
        for block, first, second in blocks:
            out = relu(x, *first, "relu", [], "")
            # the sum is written into the summand, which must have the output's memory format
            summand = block.shortcut(x).contiguous(memory_format=torch.channels_last)
            x = sum_relu(summand, out, *second, "add", 1.0, "relu", [], "")
        return x.mean((2, 3), dtype=torch.float32)

    return run
