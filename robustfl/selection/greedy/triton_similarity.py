"""Similarities of a class on a GPU in one pass: distances by differences, rounded to the grid.

Sums of squared differences in float64 are the distances that `ClassPoints.block` computes by a Gram
matrix, to the last bit or two of float64, without temporaries of eight bytes per entry. Each
unordered pair is summed in the same order both ways, so that S is exactly symmetric. Not yet run on
a GPU: interpreted and compiled like `triton_engine`, by the same tests.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from robustfl import cuda
from robustfl.selection.distances import ClassPoints
from robustfl.selection.greedy import fixed_point

SIDE = 64  # a program fills SIDE by SIDE entries
WARPS = 8


@triton.jit(do_not_specialize=["m", "d", "top"])
def fill(X, S, m, d, factor, inverse, top, ROOT: tl.constexpr, SIDE: tl.constexpr):
    """S_ij = top - round(distance / step), half to even. X: (d, m) float64."""
    a = tl.program_id(0) * SIDE + tl.arange(0, SIDE)
    b = tl.program_id(1) * SIDE + tl.arange(0, SIDE)
    total = tl.zeros([SIDE, SIDE], dtype=tl.float64)
    for k in range(d):
        u = tl.load(X + k * m + a, mask=a < m, other=0.0)
        v = tl.load(X + k * m + b, mask=b < m, other=0.0)
        apart = u[:, None] - v[None, :]
        total += apart * apart
    distance = tl.sqrt(total) if ROOT else total * factor

    # round half to even by adding 1.5 * 2**23: float32 has no bits below 1 there
    scaled = distance.to(tl.float32) * inverse  # step is a power of two; at most 2**21
    nearest = ((scaled + 12582912.0) - 12582912.0).to(tl.int32)
    at = S + a.to(tl.int64)[:, None] * m + b[None, :]
    tl.store(at, top - nearest, mask=(a < m)[:, None] & (b < m)[None, :])


def similarity(cloud: ClassPoints) -> tuple[torch.Tensor, float]:
    """(S (m, m) int32, step) of a class on its own device, as `fixed_point.similarity` gives it.

    It serves every metric but precomputed, and no outer products: they have no rows to subtract.
    """
    m, d = cloud.rows.shape
    step, top = fixed_point.quantum(cloud.max_distance)
    S = torch.empty(m, m, dtype=torch.int32, device=cloud.rows.device)
    factor = 0.5 if cloud.metric == "cosine" else 1.0
    side = triton.cdiv(m, SIDE)
    # Triton launches on the current device, and may load the kernel now
    with cuda.LOCK, torch.cuda.device_of(S):
        fill[(side, side)](
            cloud.rows.T.contiguous(),
            S,
            m,
            d,
            factor,
            1 / step,
            top,
            ROOT=cloud.metric == "euclidean",
            SIDE=SIDE,
            num_warps=WARPS,
        )
    return S, step
