"""The Triton kernels make the CPU engine's matrix and picks.

They do so on a CUDA device where there is one, else in Triton's interpreter, and they compile for a
GPU anywhere.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

import robustfl
from robustfl.selection.greedy import dispatch, numpy_engine

INTERPRETED = """
import sys
import numpy as np, torch
from robustfl.selection.greedy import numpy_engine, triton_engine
triton_engine.COLUMNS, triton_engine.CHUNK, triton_engine.ROWS = map(int, sys.argv[1:])
r = np.random.default_rng(0)
matrices = []
for n in (1, 2, 7, 33, 40, 90):
    x = r.integers(0, 2**18 if n != 33 else 3, size=(n, n)).astype(np.int32)  # 33: ties everywhere
    matrices.append(x + x.T)
wanted = [1, 2, 3, 33, 20, 60]
results = triton_engine.greedy([torch.from_numpy(m) for m in matrices], wanted)
for (picks, gains), matrix, k in zip(results, matrices, wanted):
    expected = numpy_engine.greedy(matrix, k)
    assert picks.tolist() == expected[0].tolist() and gains.tolist() == expected[1].tolist()

import robustfl
points, labels = r.normal(size=(60, 5)).astype(np.float32), np.repeat([0, 1, 2], (40, 19, 1))
points[3] = points[17]
for metric in ("euclidean", "sqeuclidean", "cosine", "precomputed"):
    given = points @ points.T if metric == "precomputed" else points
    given = (given + given.T) / 2 if metric == "precomputed" else given
    ours, cpu = (
        robustfl.select(given, labels, ratio=0.4, metric=metric, engine=engine)
        for engine in ("triton", "numpy")
    )
    assert ours.indices.tolist() == cpu.indices.tolist(), metric
    assert ours.gains.tolist() == cpu.gains.tolist(), metric
"""

SIMILARITIES = """
import numpy as np, torch
from robustfl.selection.greedy import fixed_point, triton_similarity
from robustfl.selection.distances import ClassPoints
r = np.random.default_rng(0)
for scale in (1, 1e-6, 1e6):
    points = (r.normal(size=(150, 7)) * scale + 3 * scale).astype(np.float32)
    points[5] = points[9]
    for metric in ("euclidean", "sqeuclidean", "cosine"):
        ours, step = triton_similarity.similarity(ClassPoints(torch.from_numpy(points), metric))
        cloud = ClassPoints(points, metric)
        cpu, expected = fixed_point.similarity(cloud.matrix(), cloud.max_distance)
        assert step == expected and torch.equal(ours, ours.T) and ours[5, 9] == ours.max()
        assert np.array_equal(ours.numpy(), cpu), (scale, metric)
"""

COMPILED = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from robustfl.selection.greedy import triton_engine as g, triton_similarity as s

def check(kernel, others, constants, warps):
    kinds = {name: others.get(name, "*i32") for name in kernel.arg_names}
    kinds |= dict.fromkeys(constants, "constexpr")
    values = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=kinds, constexprs=values)
    code = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps}).asm
    assert "sm_90" in code["ptx"] and len(code["cubin"]) > 1000

wide = dict.fromkeys(("start", "gain", "gains", "tops", "tops_then"), "*i64")
for slots in (1, 16):
    check(
        g.step, wide | dict.fromkeys(("N", "K", "TILES"), "i32"),
        {"SLOTS": slots, "COLUMNS": g.COLUMNS, "CHUNK": g.CHUNK, "ROWS": g.ROWS}, g.WARPS,
    )
numbers = dict.fromkeys(("m", "d", "top"), "i32") | dict.fromkeys(("factor", "inverse"), "fp32")
for root in (True, False):
    check(s.fill, numbers | {"X": "*fp64"}, {"ROOT": root, "SIDE": s.SIDE}, s.WARPS)
"""

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


def in_a_process(code: str, *arguments: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@needs_triton
@pytest.mark.parametrize(
    "sizes", [("512", "8192", "16"), ("16", "32", "4")], ids=["one program a class", "several"]
)
def test_kernel_in_the_interpreter_makes_the_same_picks(sizes):
    in_a_process(INTERPRETED, *sizes, TRITON_INTERPRET="1")


@needs_triton
def test_similarities_in_the_interpreter_are_those_of_the_cpu():
    in_a_process(SIMILARITIES, TRITON_INTERPRET="1")


@needs_triton
def test_kernels_compile_for_a_gpu_that_is_not_here(tmp_path):
    in_a_process(COMPILED, TRITON_CACHE_DIR=str(tmp_path), TRITON_INTERPRET="0")


@pytest.mark.parametrize(
    ("memory", "groups"),
    [(10**9, [[0, 1, 2, 3]]), (4 * 200, [[0, 1], [2], [3]]), (0, [[0], [1], [2], [3]])],
)
def test_classes_that_do_not_fit_together_go_one_after_another(memory, groups):
    assert [
        list(group)
        for group in dispatch.batches_within([b"1" * n for n in (10, 10, 20, 3)], memory)
    ] == groups


def test_the_gpu_benchmark_can_be_tried_without_one(tmp_path):
    command = [
        sys.executable,
        "benchmarks/bench_select_cuda.py",
        "--device",
        "cpu",
        "--points",
        "10",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "| 100 x 10 | torch |" in (tmp_path / "selection-gpu.md").read_text()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("engine", ["triton", "torch"])
def test_on_a_gpu_the_same_matrix_gives_the_same_picks(engine):
    r = np.random.default_rng(0)
    for n in (1, 5, 1000, 5000):
        half = r.integers(0, 2**20, size=(n, n)).astype(np.int32)
        matrix = np.minimum(half, half.T)
        k = max(1, n // 5)
        expected = numpy_engine.greedy(matrix, k)
        if engine == "triton":
            from robustfl.selection.greedy import triton_engine

            [(picks, gains)] = triton_engine.greedy([torch.from_numpy(matrix).cuda()], [k])
        else:
            from robustfl.selection.greedy import torch_engine

            picks, gains = torch_engine.greedy(torch.from_numpy(matrix).cuda(), k)
        assert picks.tolist() == expected[0].tolist() and gains.tolist() == expected[1].tolist()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_classes_of_many_sizes_together():
    from robustfl.selection.greedy import triton_engine

    r, matrices = np.random.default_rng(3), []
    for n in (3000, 1, 700, 1600):
        half = r.integers(0, 2**20, size=(n, n)).astype(np.int32)
        matrices.append(np.minimum(half, half.T))
    wanted = [900, 1, 700, 65]
    results = triton_engine.greedy([torch.from_numpy(m).cuda() for m in matrices], wanted)
    for (picks, gains), matrix, k in zip(results, matrices, wanted):
        expected = numpy_engine.greedy(matrix, k)
        assert picks.tolist() == expected[0].tolist() and gains.tolist() == expected[1].tolist()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_selection_from_points_is_worth_the_same():
    """Distances may round differently there in a last bit, so F is compared, not picks."""
    r = np.random.default_rng(1)
    points, labels = (
        torch.from_numpy(r.normal(size=(3000, 64)).astype(np.float32)),
        torch.arange(3000) % 10,
    )
    cpu, gpu = (
        robustfl.select(points, labels, ratio=0.4),
        robustfl.select(points.cuda(), labels.cuda(), ratio=0.4),
    )
    assert gpu.gains.sum() == pytest.approx(cpu.gains.sum(), rel=1e-6) and len(gpu) == len(cpu)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
def test_on_a_gpu_similarities_are_within_a_step_of_the_cpus(metric):
    from robustfl.selection.distances import ClassPoints
    from robustfl.selection.greedy import fixed_point, triton_similarity

    points = np.random.default_rng(2).normal(size=(1111, 64)).astype(np.float32)
    ours, step = triton_similarity.similarity(ClassPoints(torch.from_numpy(points).cuda(), metric))
    cloud = ClassPoints(points, metric)
    cpu, expected = fixed_point.similarity(cloud.matrix(), cloud.max_distance)
    assert (
        step == expected
        and torch.equal(ours, ours.T)
        and np.abs(ours.cpu().numpy() - cpu).max() <= 1
    )
