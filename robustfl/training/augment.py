"""Images as uint8 on the device, augmented batch by batch: random crop and horizontal flip.

The standard CIFAR augmentation (He et al. 2016, section 4.2), as torchvision's
RandomCrop(size, padding=4) and RandomHorizontalFlip, done by one gather instead of one image at a
time. Crop and flip of image i in an epoch depend on (seed, epoch, i) alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from robustfl import rng

PAD = 4  # pixels of zeros on each side


@dataclass(frozen=True)
class Images:
    """n images on one device."""

    pixels: torch.Tensor  # (n, H + 2 PAD, W + 2 PAD, C) uint8, with a frame of zeros
    mean: torch.Tensor  # (C,) float32 of pixel values scaled to [0, 1]
    std: torch.Tensor  # (C,) float32 of the same

    @classmethod
    def of(
        cls, images: np.ndarray, mean: tuple, std: tuple, device: torch.device | str = "cpu"
    ) -> Images:
        """Images on the device. images: (n, C, H, W) uint8; mean, std: of each channel."""
        n, c, h, w = images.shape
        source = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 2, 3, 1)
        pixels = torch.zeros(n, h + 2 * PAD, w + 2 * PAD, c, dtype=torch.uint8)
        pixels[:, PAD : PAD + h, PAD : PAD + w] = source

        as_float = (torch.tensor(v, dtype=torch.float32, device=device) for v in (mean, std))
        return cls(pixels.to(device), *as_float)

    def __len__(self) -> int:
        return len(self.pixels)

    def plain(self, start: int, stop: int) -> torch.Tensor:
        """(b, C, H, W) float32 images start to stop - 1, normalised and not augmented."""
        return self._normalised(self.pixels[start:stop, PAD:-PAD, PAD:-PAD])

    def augmented(self, index: torch.Tensor, crops: torch.Tensor) -> torch.Tensor:
        """(b, C, H, W) float32 images, augmented and normalised.

        index: (b,) int64; crops: (n, 3) int64 (dy, dx, flip) of every image, see `draw_crops`.
        """
        h = self.pixels.shape[1] - 2 * PAD
        w = self.pixels.shape[2] - 2 * PAD
        dy, dx, flip = crops[index].unbind(1)  # (b,) each

        # the rows and columns of every crop; a flip reads its columns from right to left
        x = torch.arange(w, device=index.device)
        rows = dy[:, None] + torch.arange(h, device=index.device)  # (b, H)
        columns = dx[:, None] + torch.where(flip[:, None] > 0, w - 1 - x, x)  # (b, W)
        pixels = self.pixels[index[:, None, None], rows[:, :, None], columns[:, None, :]]
        return self._normalised(pixels)

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """(b, H, W, C) uint8 -> (b, C, H, W) float32 in channels_last memory."""
        scale = 1 / (255 * self.std)
        return torch.addcmul(-self.mean / self.std, pixels.float(), scale).permute(0, 3, 1, 2)


def draw_crops(seed: int, epoch: int, n: int, purpose: str = "augment") -> torch.Tensor:
    """(n, 3) int64 on the CPU, for every image: vertical and horizontal offset in 0 .. 2 PAD, and
    flip 0 or 1."""
    # always for all n images, so that an image's crop does not depend on the subset it is in
    u = rng.stream(seed, purpose, epoch).random((n, 3))
    return torch.from_numpy((u * np.array([2 * PAD + 1, 2 * PAD + 1, 2])).astype(np.int64))
