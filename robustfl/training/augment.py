"""Images as uint8 on the device, augmented a batch at a time: random crop with 4 px zero padding and horizontal flip.

The standard CIFAR augmentation (He et al. 2016, section 4.2), as torchvision's RandomCrop(size, padding=4) and
RandomHorizontalFlip, done by one gather instead of one image at a time. Crop and flip of image i in an epoch depend on
(seed, epoch, i) alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from robustfl import rng

PAD = 4  # pixels of zeros on each side


@dataclass(frozen=True)
class Images:
    """n images on one device. pixels: (n, H + 2 PAD, W + 2 PAD, C) uint8, zero-padded; mean, std: (C,) of [0, 1] values."""

    pixels: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor

    @classmethod
    def of(
        cls, images: np.ndarray, mean: tuple, std: tuple, device: torch.device | str = "cpu"
    ) -> Images:
        """images: (n, C, H, W) uint8."""
        n, c, h, w = images.shape
        pixels = torch.zeros(n, h + 2 * PAD, w + 2 * PAD, c, dtype=torch.uint8)
        pixels[:, PAD : PAD + h, PAD : PAD + w] = torch.from_numpy(
            np.ascontiguousarray(images)
        ).permute(0, 2, 3, 1)
        as_float = (torch.tensor(v, dtype=torch.float32, device=device) for v in (mean, std))
        return cls(pixels.to(device), *as_float)

    def __len__(self) -> int:
        return len(self.pixels)

    def plain(self, start: int, stop: int) -> torch.Tensor:
        """Images start .. stop without augmentation, normalised: (b, C, H, W) float32, channels_last."""
        return self._normalised(self.pixels[start:stop, PAD:-PAD, PAD:-PAD])

    def augmented(self, index: torch.Tensor, crops: torch.Tensor) -> torch.Tensor:
        """index: (b,) int64; crops: (n, 3) int64 (dy, dx, flip) of every image -> (b, C, H, W) float32, channels_last."""
        h, w = self.pixels.shape[1] - 2 * PAD, self.pixels.shape[2] - 2 * PAD
        dy, dx, flip = crops[index].unbind(1)
        x = torch.arange(w, device=index.device)
        rows = dy[:, None] + torch.arange(h, device=index.device)  # (b, H)
        columns = dx[:, None] + torch.where(flip[:, None] > 0, w - 1 - x, x)  # (b, W)
        return self._normalised(
            self.pixels[index[:, None, None], rows[:, :, None], columns[:, None, :]]
        )

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """(b, H, W, C) uint8 -> (b, C, H, W) float32 in channels_last memory."""
        scale = 1 / (255 * self.std)
        return torch.addcmul(-self.mean / self.std, pixels.float(), scale).permute(0, 3, 1, 2)


def draw_crops(seed: int, epoch: int, n: int, purpose: str = "augment") -> torch.Tensor:
    """(n, 3) int64 on the CPU: vertical and horizontal offset in 0 .. 2 PAD, and flip 0 or 1, of every image."""
    u = rng.stream(seed, purpose, epoch).random((n, 3))
    return torch.from_numpy((u * np.array([2 * PAD + 1, 2 * PAD + 1, 2])).astype(np.int64))
