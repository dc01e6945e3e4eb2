"""Points that are outer products of two vectors, such as gradients of a last layer: never built.

The cross entropy of logits z = W h + b has the gradient r (x) [h, 1] with respect to [W, b], with
r = softmax(z) - onehot(y): 10 x 65 = 650 dimensions for ten classes and 64 features. Since
<l (x) r, l' (x) r'> = <l, l'> <r, r'>, the two factors are enough for all distances. Source: Ash,
Zhang, Krishnamurthy, Langford and Agarwal, "Deep batch active learning by diverse, uncertain
gradient lower bounds", ICLR 2020, select by the same gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from robustfl.selection.arrays import Array, double, is_numpy, to_numpy


@dataclass(frozen=True, eq=False)
class OuterProducts:
    """n points of a * b dimensions: point i is the outer product of left[i] and right[i].

    left: (n, a) and right: (n, b), both numpy arrays or both torch tensors of one device. They are
    kept as they are; `robustfl.select` and the selectors check them, and raise ValueError where
    they are not finite, not equally long, or not on one device.

    >>> import numpy as np
    >>> points = OuterProducts(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0, 5.0]]))
    >>> points.shape
    (1, 6)
    >>> points.dense().tolist()
    [[3.0, 4.0, 5.0, 6.0, 8.0, 10.0]]
    """

    left: Array
    right: Array

    def __len__(self) -> int:
        return len(self.left)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, a * b), the shape of `dense()`."""
        return len(self), self.left.shape[1] * self.right.shape[1]

    @property
    def device(self):
        """The device of the factors, as torch and numpy name it."""
        return self.left.device

    @property
    def is_cuda(self) -> bool:
        """Are the factors on a CUDA device?"""
        return not on_host(self) and self.left.is_cuda

    def __getitem__(self, where) -> OuterProducts:
        """The points at `where`, a slice or (k,) positions."""
        return OuterProducts(self.left[where], self.right[where])

    def map(self, function: Callable) -> OuterProducts:
        """The points whose factors are `function` of these factors."""
        return OuterProducts(function(self.left), function(self.right))

    def gram(self, a, b) -> Array:
        """(len(a), len(b)) inner products, in the factors' precision; a, b: slices or positions."""
        product = self.left[a] @ self.left[b].T
        product *= self.right[a] @ self.right[b].T
        return product

    def square(self) -> Array:
        """(n,) squared norms, in the factors' precision."""
        return (self.left * self.left).sum(1) * (self.right * self.right).sum(1)

    def apart(self) -> Array:
        """(n,) squared distances to the mean of all points; O(n a b) time, O(a b + n b) memory."""
        mean = self.left.T @ self.right / len(self)  # (a, b)
        return self.square() - 2 * ((self.left @ mean) * self.right).sum(1) + (mean * mean).sum()

    def dense(self) -> Array:
        """(n, a * b) float64 points, built after all: for tests, and for other people's code."""
        wide = self.map(double)
        return (wide.left[:, :, None] * wide.right[:, None, :]).reshape(self.shape)


def on_host(points: Any) -> bool:
    """Are the points numpy arrays? Else they are torch tensors, on whatever device."""
    return is_numpy(points.left if isinstance(points, OuterProducts) else points)


def each(points: Any, function: Callable) -> Any:
    """`function` of the points' array, or of both factors where they are outer products."""
    return points.map(function) if isinstance(points, OuterProducts) else function(points)


def host(points: Any) -> Any:
    """The points as a numpy array; outer products with both factors as numpy arrays."""
    return each(points, to_numpy)
