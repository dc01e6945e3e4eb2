"""Distances between points, in blocks: numpy arrays, or torch tensors on whatever device they are.

Squared distances come from a float64 Gram matrix of centred points, |x|^2 + |y|^2 - 2 x.y, and are
rounded to float32 at the end. In float32 throughout, the cancellation would leave errors of
3e-4 |x| between near-duplicates; in float64 they stay below the last bit of the float32 result, so
that equal distances compare equal and `d <= radius` is inclusive. For outer products the Gram
matrix comes from their factors, which are not centred; `ClassPoints` says what that costs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from robustfl.selection import validation
from robustfl.selection.arrays import Array, double, row_max, single, upper_triangle
from robustfl.selection.outer import OuterProducts, each, on_host

BLOCK = 2**20  # distances per block on a CPU: 8 MB of float64
GPU_BLOCK = 2**26  # and on a GPU, where few large kernels are faster: 512 MB


class ClassPoints:
    """The points of one class, ready for distance blocks.

    rows: (m, d) float64, centred (for cosine: of unit length before; for precomputed: the
      similarity matrix as it is).
    squared_norms: (m,) float64, |x|^2 of the rows.
    rounding_floor: a squared distance below this share of |x|^2 + |y|^2 is rounding, and counts
      as 0, so that duplicates are at distance 0.
    max_distance: no distance is larger; at most four times the largest one.

    For outer products, `rows` holds both factors in float64 (for cosine: each of unit length). They
    cannot be centred: less a centre, a point is no outer product. Errors are therefore relative to
    the distance |x| from the origin. Between points farther than 1e-3 |x| from each other they stay
    below the last bit of float32; points of 10 x 65 entries nearer than 2e-7 |x| count as equal.
    """

    def __init__(self, points, metric: str = "euclidean") -> None:
        """points: (m, d) numpy or torch, or OuterProducts; metric: one of `validation.METRICS`.

        They are as `validation.points` returns them. Raises ValueError for an unknown metric, and
        for distances beyond float32.
        """
        self.metric = validation.one_of(metric, "metric", validation.METRICS)
        self.on_host = on_host(points)
        self.outer = isinstance(points, OuterProducts)

        rows = each(points, double)
        if metric == "cosine":
            rows = each(rows, _unit)

        # what overflows here is refused below
        with np.errstate(over="ignore", invalid="ignore"):
            if metric != "precomputed" and not self.outer:
                # less one of them first, so that equal points become exact zeros
                rows = rows - rows[:1]
                rows = rows - rows.mean(0)
            self.rows = rows
            self.squared_norms = rows.square() if self.outer else (rows * rows).sum(1)
            self.rounding_floor = 2.0**-52 * (64 + 4 * _rounding(rows))
            self.max_similarity = float(rows.max()) if metric == "precomputed" else 0.0
            self.max_distance = self._bound() * (1 + 2.0**-20)  # the margin covers rounding
        if not self.max_distance < validation.FLOAT32:
            raise ValueError(
                "points must lie within distances that float32 can hold; "
                f"got a spread of {self.max_distance}"
            )

    def _bound(self) -> float:
        # by the triangle inequality: twice the distance of the furthest point from the centre
        if self.metric == "precomputed":
            return self.max_similarity - float(self.rows.min())
        if self.outer:
            furthest = float(
                self.rows.apart().max() + 2 * self.rounding_floor * self.squared_norms.max()
            )
        else:
            furthest = float(self.squared_norms.max())  # from the centre, squared
        return {
            "euclidean": 2 * furthest**0.5,
            "sqeuclidean": 4 * furthest,
            "cosine": 2 * furthest,
        }[self.metric]

    def __len__(self) -> int:
        return len(self.rows)

    def gram(self, a, b) -> Array:
        """(len(a), len(b)) float64 inner products of the rows; a, b: slices or (k,) positions."""
        return self.rows.gram(a, b) if self.outer else self.rows[a] @ self.rows[b].T

    def block(self, a, b) -> Array:
        """(len(a), len(b)) float32 distances; a, b: slices or (k,) positions.

        For `precomputed` the distance is the largest similarity minus the similarity.
        """
        if self.metric == "precomputed":
            return single(self.max_similarity - self.rows[a][:, b])

        # |x|^2 + |y|^2 - 2 x.y in place, with what is only rounding set to 0
        part = self.gram(a, b)
        part *= -2.0
        norm = self.squared_norms[a][:, None] + self.squared_norms[b][None]
        part += norm
        norm *= self.rounding_floor
        part *= part > norm

        if self.metric == "euclidean":
            part **= 0.5
        elif self.metric == "cosine":
            part *= 0.5  # |u - v|^2 / 2 = 1 - cos for unit rows
        return single(part)

    def blocks(self, b: slice | np.ndarray | None = None) -> Iterator[tuple[slice, Array]]:
        """(rows, distances of those rows to b), over all rows, a bounded number of them at a time.

        b: a slice or (k,) positions; None: all points.
        """
        columns = slice(None) if b is None else b
        for rows in self.slices(len(self) if isinstance(columns, slice) else len(columns)):
            yield rows, self.block(rows, columns)

    def slices(self, width: int) -> list[slice]:
        """The rows, cut so that a block of them by `width` columns is of bounded size."""
        bound = BLOCK if self.on_host else GPU_BLOCK
        step = max(1, bound // max(1, width))
        m = len(self)
        return [slice(start, min(start + step, m)) for start in range(0, m, step)]

    def matrix(self) -> Array:
        """(m, m) float32 distances, exactly symmetric with a zero diagonal.

        One triangle is computed and mirrored.
        """
        m = len(self)
        if self.on_host:
            out: Array = np.zeros((m, m), np.float32)
        else:
            out = self.squared_norms.new_zeros(m, m).float()
        for rows, part in self.upper_blocks():
            out[rows, rows.start :] = part
            out[rows.start :, rows] = part.T
        return out

    def upper_blocks(self) -> Iterator[tuple[slice, Array]]:
        """(rows, their distances to themselves and to all rows after them), over all rows."""
        m = len(self)
        for rows in self.slices(m):
            part = self.block(rows, slice(rows.start, m))
            # the square on the diagonal: mirror its upper triangle, without distances to itself
            corner = part[:, : part.shape[0]]
            first = 0 if self.metric == "precomputed" else 1
            corner[:] = upper_triangle(corner, first) + upper_triangle(corner, 1).T
            yield rows, part


def _unit(rows: Array) -> Array:
    """(m, d) rows at length 1; none is zero."""
    largest = row_max(abs(rows))
    # to a largest entry of 1 first, so that no square over- or underflows
    rows = rows / largest[:, None]
    return rows / ((rows * rows).sum(1) ** 0.5)[:, None]


def _rounding(rows) -> float:
    """How errors of inner products grow: the root of the terms; of outer products, of both sums."""
    parts = (rows.left, rows.right) if isinstance(rows, OuterProducts) else (rows,)
    return sum(part.shape[1] ** 0.5 for part in parts)


def by_class(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(label, positions of its points in increasing order), by increasing label."""
    order = np.argsort(labels, kind="stable")
    names, starts = np.unique(labels[order], return_index=True)
    yield from zip(names.tolist(), np.split(order, starts[1:]))


def rows_of_class(points, where: np.ndarray, metric: str = "euclidean"):
    """The points of one class: rows `where`, and for a precomputed matrix the same columns."""
    index: Array = where
    if not on_host(points):
        import torch

        index = torch.from_numpy(where).to(points.device)
    part = points[index]
    return part[:, index] if metric == "precomputed" else part
