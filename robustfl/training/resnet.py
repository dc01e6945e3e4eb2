"""CIFAR ResNets with shortcut option A.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.

6n + 2 layers: a 3x3 convolution, three stages of n basic blocks with 16, 32, 64 channels, global
average pooling, one linear layer. Option A shortcuts (stride 2, zero-padded channels) have no
parameters: ResNet-32 has 0.46 M. `_stride2`: the first convolution has stride 2, as in the paper's
ImageNet models; the same parameters, a quarter of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from robustfl import rng


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm, and the shortcut around both."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.pad = channels - channels_in  # channels of zeros that the shortcut adds

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        return F.relu(out.add_(self.shortcut(x)), inplace=True)

    def shortcut(self, x: torch.Tensor) -> torch.Tensor:
        """x itself, or option A: subsampled, with channels of zeros added, half on each side."""
        if self.pad or self.stride > 1:
            x = F.pad(
                x[:, :, :: self.stride, :: self.stride],
                (0, 0, 0, 0, self.pad // 2, self.pad - self.pad // 2),
            )
        return x


class ResNet(nn.Module):
    """features(x): (b, 64) penultimate features; forward(x): (b, classes) logits.

    x: (b, channels, H, W) float32. `fc.weight` is the W of the closed-form gradients, see
    `embeddings`. Raises ValueError for a depth that is not 6n + 2.
    """

    def __init__(self, depth: int, channels: int, classes: int, stem_stride: int = 1) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6n + 2 with n >= 1; got {depth}")
        self.conv = nn.Conv2d(channels, 16, 3, stem_stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(16)

        # three stages, each but the first beginning with a block of stride 2
        blocks: list[Block] = []
        width = 16
        for stage, out in enumerate((16, 32, 64)):
            for i in range((depth - 2) // 6):
                blocks.append(Block(width, out, stride=2 if stage and not i else 1))
                width = out
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(64, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(F.relu(self.bn(self.conv(x)), inplace=True))
        # global average pooling; its backward is deterministic, AdaptiveAvgPool's is not
        return x.mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x))


def feature_function(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """`model.features`: (b, C, H, W) images to (b, d) penultimate features."""
    return cast(Callable[[torch.Tensor], torch.Tensor], model.features)


def last_layer(model: nn.Module) -> nn.Linear:
    """`model.fc`, the linear layer that makes logits of the penultimate features."""
    return cast(nn.Linear, model.fc)


MODELS = {
    f"resnet{depth}{name}": partial(ResNet, depth, stem_stride=stride)
    for name, stride in (("", 1), ("_stride2", 2))
    for depth in (8, 14, 20, 32, 44, 56)
}


def build(name: str, channels: int, classes: int, seed: int) -> nn.Module:
    """A model on the CPU, initialised from `seed` alone: Kaiming normal weights (He et al. 2015),
    zero biases. The global random state is left as it was.

    name: a key of MODELS; channels: of an image. Raises ValueError for a name not in MODELS.
    """
    if name not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}; got {name!r}")
    # the layers' own initialisation draws from the global state
    with torch.random.fork_rng(devices=[]):
        model = MODELS[name](channels, classes)

    generator = torch.Generator().manual_seed(rng.key(seed, "init") % 2**63)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, generator=generator)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
    return model


@lru_cache
def forward_flops(name: str, shape: tuple[int, int, int], classes: int) -> int:
    """Floating point operations of one image's forward pass; a multiplication and an addition are
    two.

    shape: (channels, height, width) of an image. Raises ValueError for a name not in MODELS.
    """
    from torch.utils.flop_counter import FlopCounterMode

    model = build(name, shape[0], classes, seed=0).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *shape))
    return counter.get_total_flops()
