"""Forgetting events of each training image, counted while a model trains.

Source: Toneva et al., "An Empirical Study of Example Forgetting during Deep Neural Network
Learning", ICLR 2019.
"""

from __future__ import annotations

import torch


class Forgetting:
    """The events of n images.

    An event: the given label was predicted when the image was trained on last, and is not predicted
    now. An image whose label was never predicted ranks above any number of events.

    The attributes are the state of a checkpoint, all (n,): `correct` and `learned` bool, `events`
    int64.
    """

    def __init__(self, n: int, device: torch.device) -> None:
        self.correct = torch.zeros(n, dtype=torch.bool, device=device)  # at the last visit
        self.learned = torch.zeros(n, dtype=torch.bool, device=device)  # at any visit
        self.events = torch.zeros(n, dtype=torch.int64, device=device)

    def see(self, index: torch.Tensor, hits: torch.Tensor) -> None:
        """Count the events of a batch. index: (b,) its images, each once; hits: (b,) bool.

        Equals these three statements, in this order:

            events[index] += correct[index] & ~hits
            correct[index] = hits
            learned[index] |= hits
        """
        # Deterministic writes by index read the index on the host, which a CUDA graph forbids;
        # scatters of a constant do not. Row n takes the images that are wrong, and is cut off.
        n = len(self.correct)
        seen = torch.zeros_like(self.correct).scatter_(0, index, True)
        right = self.correct.new_zeros(n + 1).scatter_(0, torch.where(hits, index, n), True)[:n]

        self.events += self.correct & seen & ~right
        self.correct.copy_(torch.where(seen, right, self.correct))
        self.learned |= right

    def scores(self, most: int) -> torch.Tensor:
        """(n,) int64 events, `most` for images that were never learned."""
        return torch.where(self.learned, self.events, most)
