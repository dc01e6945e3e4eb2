"""Distances between points, in blocks: numpy arrays, or torch tensors on whatever device they are.

Squared distances come from a float64 Gram matrix of centred points, |x|^2 + |y|^2 - 2 x.y, and are rounded to float32 at
the end. In float32 throughout, the cancellation would leave errors of 3e-4 |x| between near-duplicates; in float64 they
stay below the last bit of the float32 result, so that equal distances compare equal and `d <= radius` is inclusive.
Of outer products it comes from their factors, not centred; `ClassPoints` says what that costs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from robustfl.selection import validation
from robustfl.selection.outer import OuterProducts, double, each, on_host

BLOCK = 2**20  # distances per block on a CPU: 8 MB of float64
FLOAT32 = float(np.finfo(np.float32).max)
GPU_BLOCK = 2**26  # and on a GPU, where few large kernels are faster: 512 MB


class ClassPoints:
    """The points of one class, ready for distance blocks.

    rounding_floor: a squared distance below this share of |x|^2 + |y|^2 is rounding, and counts as 0: duplicates are at distance 0.
    rows: (m, d) float64, centred (for cosine: of unit length before; for precomputed: the similarity matrix as it is).
    squared_norms: (m,) float64, |x|^2 of the rows.

    Of outer products, `rows` holds both factors in float64 (for cosine: each of unit length). They
    cannot be centred: less a centre, a point is no outer product. Errors are therefore relative to
    the distance |x| from the origin. Between points farther than 1e-3 |x| from each other they stay
    below the last bit of float32; points of 10 x 65 entries nearer than 2e-7 |x| count as equal.
    """

    def __init__(self, points, metric: str = "euclidean") -> None:
        """points: (m, d) numpy or torch, or OuterProducts; metric: see `checks.METRICS`.

        ValueError for a zero vector under cosine, or distances beyond float32.
        """
        self.metric = validation.one_of(metric, "metric", validation.METRICS)
        self.on_host, self.outer = on_host(points), isinstance(points, OuterProducts)
        rows = each(points, double)
        if metric == "cosine":
            rows = each(rows, _unit)
        if metric != "precomputed" and not self.outer:
            rows = rows - rows[:1]  # first, so that equal points become exact zeros
            rows = rows - rows.mean(0)
        self.rows = rows

        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            self.squared_norms = rows.square() if self.outer else (rows * rows).sum(1)
        self.rounding_floor = 2.0**-52 * (64 + 4 * _rounding(rows))
        self.max_similarity = float(rows.max()) if metric == "precomputed" else 0.0
        self.max_distance = self._bound() * (
            1 + 2.0**-20
        )  # no distance is larger; at most four times the largest one
        if not self.max_distance < FLOAT32:
            raise ValueError(
                f"points must lie within distances that float32 can hold; got a spread of {self.max_distance}"
            )

    def _bound(self) -> float:
        if self.metric == "precomputed":
            return self.max_similarity - float(self.rows.min())
        if self.outer:
            with np.errstate(over="ignore", invalid="ignore"):
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

    def gram(self, a, b):
        """(len(a), len(b)) float64 inner products of the rows; a, b: slices or (k,) positions."""
        return self.rows.gram(a, b) if self.outer else self.rows[a] @ self.rows[b].T

    def block(self, a, b):
        """(len(a), len(b)) float32 distances; a, b: slices or (k,) positions.

        For `precomputed` the distance is the largest similarity minus the similarity.
        """
        if self.metric == "precomputed":
            part = self.max_similarity - self.rows[a][:, b]
        else:
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
        return part.astype(np.float32) if isinstance(part, np.ndarray) else part.float()

    def blocks(self, b=slice(None)) -> Iterator[tuple[slice, object]]:
        """(rows, distances of those rows to b), over all rows, a bounded number of distances at a time."""
        for rows in self.slices(len(self) if isinstance(b, slice) else len(b)):
            yield rows, self.block(rows, b)

    def slices(self, width: int) -> list[slice]:
        """The rows, cut so that a block of them by `width` columns is of bounded size."""
        bound = BLOCK if self.on_host else GPU_BLOCK
        step, m = max(1, bound // max(1, width)), len(self)
        return [slice(start, min(start + step, m)) for start in range(0, m, step)]

    def matrix(self):
        """(m, m) float32 distances, exactly symmetric with a zero diagonal: one triangle is computed and mirrored."""
        m = len(self)
        out = (
            np.zeros((m, m), np.float32)
            if self.on_host
            else self.squared_norms.new_zeros(m, m).float()
        )
        for rows in self.slices(m):
            rest = slice(rows.start, m)
            part = self.block(rows, rest)
            size = part.shape[0]
            corner = part[:, :size]  # the block on the diagonal: mirror its upper triangle
            triu = np.triu if isinstance(corner, np.ndarray) else type(corner).triu
            part[:, :size] = (
                triu(corner, 0 if self.metric == "precomputed" else 1) + triu(corner, 1).T
            )
            out[rows, rest] = part
            out[rest, rows] = part.T
        return out


def _unit(rows):
    """(m, d) rows at length 1. ValueError for a row of zeros."""
    largest = abs(rows).max(1) if isinstance(rows, np.ndarray) else rows.abs().amax(1)
    if not bool((largest > 0).all()):
        raise ValueError("points must have no zero row for metric='cosine'; got at least one")
    rows = rows / largest[:, None]  # first, so that no square over- or underflows
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
    if not on_host(points):
        import torch

        where = torch.from_numpy(where).to(points.device)
    part = points[where]
    return part[:, where] if metric == "precomputed" else part
