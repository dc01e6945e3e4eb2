"""Outer products against the points they stand for, built: distances, picks, weights, covers.

Errors name what is wrong, and nothing as large as the built points is ever made.
"""

import tracemalloc

import numpy as np
import pytest
import torch

import robustfl
from robustfl.selection import SELECTORS, OuterProducts, weights
from robustfl.selection.cover.neighbour_lists import Neighbours
from robustfl.selection.distances import ClassPoints
from robustfl.selection.greedy import dispatch, fixed_point, numba_engine

R = np.random.default_rng(0)
LABELS = R.integers(0, 3, 90)
PICKS = np.array([5, 70, 3, 41, 12, 60, 22])
KINDS = ("normal", "gradients", "duplicates", "equal", "one", "scaled", "float32")
METRICS = pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])


def gradients(n: int, r: np.random.Generator) -> OuterProducts:
    """As of a last layer: softmax(z) - onehot(y), and features >= 0 with a 1 for the bias."""
    left = np.exp(2 * r.normal(size=(n, 10)))
    left /= left.sum(1, keepdims=True)
    left[np.arange(n), r.integers(0, 10, n)] -= 1
    return OuterProducts(left, np.hstack([np.maximum(r.normal(size=(n, 64)), 0), np.ones((n, 1))]))


def instance(kind: str, seed: int, n: int = 90) -> OuterProducts:
    r = np.random.default_rng(seed)
    a, b = r.integers(1, 12, size=2)
    points = OuterProducts(r.normal(size=(n, a)), r.normal(size=(n, b)))
    if kind == "gradients":
        points = gradients(n, r)
    elif kind == "duplicates":
        points = gradients(n, r)[r.integers(0, n // 4, n)]
    elif kind == "equal":
        points = gradients(1, r)[np.zeros(n, dtype=np.int64)]
    elif kind == "one":
        points = points[:1]
    elif kind == "scaled":
        points = OuterProducts(points.left * 10.0 ** r.uniform(-6, 6, size=(n, 1)), points.right)
    elif kind == "float32":
        points = gradients(n, r).map(lambda part: part.astype(np.float32))
    return points


def tensors(points: OuterProducts) -> OuterProducts:
    return points.map(torch.from_numpy)


POINTS = gradients(90, R)
DENSE = POINTS.dense()


def same(one, two) -> bool:
    """Equal picks and weights; gains equal but for the grid's rounding."""
    exact = np.array_equal(one.indices, two.indices) and np.array_equal(one.weights, two.weights)
    return exact and np.allclose(one.gains, two.gains, rtol=1e-5) and one.radius == two.radius


def test_the_type():
    part = POINTS[np.array([3, 1])]
    assert len(POINTS) == 90 and POINTS.shape == (90, 650) == DENSE.shape
    assert np.array_equal(DENSE[7].reshape(10, 65), np.outer(POINTS.left[7], POINTS.right[7]))
    assert np.array_equal(part.dense(), DENSE[[3, 1]]) and len(POINTS[4:9]) == 5
    assert np.array_equal(tensors(POINTS).dense().numpy(), DENSE)
    assert np.allclose(POINTS.gram(slice(2, 9), PICKS), DENSE[2:9] @ DENSE[PICKS].T, rtol=1e-13)
    assert np.allclose(POINTS.square(), (DENSE**2).sum(1), rtol=1e-13)
    assert np.allclose(POINTS.apart(), ((DENSE - DENSE.mean(0)) ** 2).sum(1), rtol=1e-12)


@METRICS
@pytest.mark.parametrize("kind", KINDS)
def test_distances_are_those_of_the_built_points(kind, metric):
    for seed in range(10):
        points = instance(kind, seed)
        dense = points.dense()
        cloud, built = ClassPoints(points, metric), ClassPoints(dense, metric)
        ours, theirs = cloud.matrix(), built.matrix()
        assert ours.dtype == np.float32 and not ours.diagonal().any()
        assert np.array_equal(ours, ours.T) and ours.max() <= cloud.max_distance
        assert cloud.max_distance == pytest.approx(built.max_distance, rel=1e-6, abs=1e-5)
        if kind != "scaled":  # centring drowns points near the origin in others' rounding
            assert np.allclose(ours, theirs, rtol=3e-7, atol=0)

        # from the differences of the built points, free of cancellation
        x = dense / np.linalg.norm(dense, axis=1, keepdims=True) if metric == "cosine" else dense
        true = ((x[:, None] - x[None]) ** 2).sum(2)
        true = {"euclidean": true**0.5, "sqeuclidean": true, "cosine": true / 2}[metric]
        assert np.allclose(ours, true, rtol=3e-7, atol=0)


@pytest.mark.parametrize("place", [lambda points: points, tensors], ids=["numpy", "torch"])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_duplicates_are_at_distance_0_and_neighbours_are_not(place, scale):
    for a, b in ((1, 1), (10, 65), (100, 513), (3, 2000)):
        left, right = R.normal(size=(40, a)) * scale, np.abs(R.normal(size=(40, b)))
        twins = OuterProducts(np.tile(left, (5, 1)), np.tile(right, (5, 1)))
        apart = np.asarray(ClassPoints(place(twins)).matrix())
        assert np.array_equal(apart == 0, np.tile(np.eye(40, dtype=bool), (5, 5)))

        near = OuterProducts(np.vstack([left, left]), np.vstack([right, right * (1 + 1e-3)]))
        norm = (near.square() ** 0.5)[:40]
        moved = np.asarray(ClassPoints(place(near)).matrix())[np.arange(40), np.arange(40) + 40]
        assert np.allclose(moved, 1e-3 * norm, rtol=3e-7, atol=0)


@METRICS
@pytest.mark.parametrize("method", SELECTORS)
@pytest.mark.filterwarnings("ignore:set_cover")
def test_every_selector_picks_as_from_the_built_points(method, metric):
    for seed in range(4):
        points = instance("gradients", seed)
        for ratio in (0.1, 0.4):
            one, two = (
                SELECTORS[method](given, LABELS, ratio, np.random.default_rng(5), metric=metric)
                for given in (points, points.dense())
            )
            if method == "set_cover":  # of the radii that give the number, bisection meets one
                assert one.radius == pytest.approx(two.radius, rel=1e-6)
                two = SELECTORS[method](
                    points.dense(), LABELS, ratio, None, metric=metric, cover_radius=one.radius
                )
            assert same(one, two)


@pytest.mark.parametrize("engine", ["numba", "numpy", "torch"])
@pytest.mark.parametrize(
    "options",
    [{"algorithm": "stochastic"}, {"algorithm": "partition", "memory": 24 * 20**2}],
    ids=["stochastic", "partition"],
)
def test_the_other_algorithms_of_facility_location(engine, options):
    one, two = (
        robustfl.select(given, LABELS, ratio=0.3, seed=3, engine=engine, **options)
        for given in (POINTS, DENSE)
    )
    assert np.array_equal(one.indices, two.indices) and np.array_equal(one.weights, two.weights)


def test_engines_agree_to_the_bit():
    points = gradients(1100, R)  # several blocks of rows
    labels = (np.arange(1100) > 1050).astype(int)
    one, two, three = (
        robustfl.select(points, labels, ratio=0.2, engine=engine)
        for engine in ("numba", "numpy", "torch")
    )
    for other in (two, three):
        for name in ("indices", "weights", "gains"):
            assert np.array_equal(getattr(one, name), getattr(other, name))


@METRICS
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_similarities_are_those_of_the_matrix(kind, metric):
    for seed in range(10):
        cloud = ClassPoints(instance(kind, seed), metric)
        expected, step = fixed_point.similarity(cloud.matrix(), cloud.max_distance)
        buffer = np.empty(len(cloud) ** 2, dtype=np.int32)
        compiled, same_step = numba_engine.similarity(cloud, buffer)
        assert np.array_equal(compiled, expected) and same_step == step
        assert expected.min() >= 0 and expected.max() <= 2**fixed_point.BITS


def test_tensors_and_arrays_give_the_same():
    given = POINTS.map(lambda part: torch.from_numpy(part).requires_grad_())
    for method in ("facility_location", "centrality", "el2n", "random"):
        one, two = (
            robustfl.select(points, LABELS, method=method, ratio=0.3, radius=1.5)
            for points in (POINTS, given)
        )
        assert same(one, two)


@METRICS
def test_weights_are_those_of_the_built_points(metric):
    radius = weights.median_distance(DENSE, None, metric)[0]
    for function, more in (
        (weights.assign, ()),
        (weights.cluster, ()),
        (weights.ball, (radius,)),
        (weights.ball, (0.8, "median")),
        (weights.within_ball, (radius,)),
        (weights.within_ball, (0.8, "median")),
    ):
        ours, theirs = (
            function(given, LABELS, PICKS, *more, metric=metric) for given in (POINTS, DENSE)
        )
        assert np.array_equal(ours, theirs)

    ours, theirs = (weights.median_distance(given, LABELS, metric) for given in (POINTS, DENSE))
    assert ours == pytest.approx(theirs, rel=1e-6)
    ours, theirs = (
        weights.facility_value(given, LABELS, PICKS, metric) for given in (POINTS, DENSE)
    )
    assert ours == pytest.approx(theirs, rel=1e-6)

    picked = robustfl.select(POINTS, LABELS, ratio=0.1, metric=metric)
    ours, theirs = (
        weights.sample_representatives(given, LABELS, picked, np.random.default_rng(1), metric)
        for given in (POINTS, DENSE)
    )
    assert np.array_equal(ours.indices, theirs.indices)


def test_radius_and_weights_of_select():
    radius = weights.median_distance(DENSE)[0]
    one, two = (
        robustfl.select(given, LABELS, ratio=0.3, radius=radius) for given in (POINTS, DENSE)
    )
    assert same(one, two) and not np.array_equal(one.weights, np.ones(len(one)))


@METRICS
@pytest.mark.parametrize("listed", [2**20, 1], ids=["lists", "counts"])
@pytest.mark.parametrize("compiled", [True, False])
def test_every_way_of_covering(metric, listed, compiled):
    for kind in ("gradients", "duplicates"):
        points = instance(kind, 1, n=300)
        for share in (0.0, 0.6, 0.9, 1.1):
            radius = share * weights.median_distance(points, None, metric)[0]
            ours, theirs = (Neighbours(given, metric, listed) for given in (points, points.dense()))
            ours.use_numba = theirs.use_numba = compiled
            for one, two in zip(ours.cover(radius), theirs.cover(radius)):
                assert np.array_equal(one, two)


@pytest.mark.parametrize("method", SELECTORS)
@pytest.mark.filterwarnings("ignore:set_cover")
def test_inputs_stay_as_they_are(method):
    points, labels = instance("float32", 0), LABELS.copy()
    before = points.left.copy(), points.right.copy()
    robustfl.select(points, labels, method=method, ratio=0.3, radius=1.0)
    assert np.array_equal(points.left, before[0]) and np.array_equal(points.right, before[1])
    assert np.array_equal(labels, LABELS)


@pytest.mark.parametrize("method", SELECTORS)
@pytest.mark.filterwarnings("ignore:set_cover")
def test_nothing_as_large_as_the_built_points_is_made(method, monkeypatch):
    monkeypatch.delattr(OuterProducts, "dense")
    n, a, b = 1500, 60, 100
    points, labels = OuterProducts(R.normal(size=(n, a)), R.normal(size=(n, b))), np.arange(n) % 5
    options = {"ratio": 0.1, "radius": 1.0, "method": method}
    robustfl.select(points[:50], labels[:50], **options)  # what is compiled, is compiled now
    tracemalloc.start()
    try:
        robustfl.select(points, labels, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    seen = n if method == "set_cover" else n // 5  # points at a time
    assert peak < 8 * seen * a * b


def test_triton_takes_them_by_way_of_torch():
    """Its kernel subtracts rows, which outer products do not have."""
    assert dispatch.entry("triton", "euclidean", tensors(POINTS)) == dispatch.BYTES["torch"]
    assert (
        dispatch.entry("triton", "euclidean", torch.from_numpy(DENSE)) == dispatch.BYTES["triton"]
    )
    cloud = ClassPoints(tensors(POINTS))
    [(similarity, step)] = dispatch.similarities([cloud], "triton")
    expected, same_step = fixed_point.similarity(ClassPoints(POINTS).matrix(), cloud.max_distance)
    assert torch.is_tensor(similarity) and np.array_equal(similarity.numpy(), expected)
    assert step == same_step


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_selection_is_worth_the_same():
    points, labels = gradients(3000, R), np.arange(3000) % 10
    cpu = robustfl.select(points, labels, ratio=0.4)
    gpu = robustfl.select(tensors(points).map(torch.Tensor.cuda), labels, ratio=0.4)
    assert gpu.gains.sum() == pytest.approx(cpu.gains.sum(), rel=1e-6) and len(gpu) == len(cpu)


ONES = np.ones((6, 2))
WILD = R.normal(size=(6, 2))
BAD = {
    r"points.left must have shape \(n, a\) with n >= 1 and a >= 1; got \(6,\)": (np.ones(6), ONES),
    r"points.right must have shape \(n, b\).* b >= 1; got \(6, 0\)": (ONES, ONES[:, :0]),
    r"points.left must have shape \(n, a\).*got \(0, 2\)": (ONES[:0], ONES[:0]),
    r"points.left and points.right must be equally long; got 6 and 5": (ONES, ONES[:5]),
    r"points.right must be finite; got nan at \(0, 0\)": (ONES, ONES * np.nan),
    r"points.left must be finite; got inf at \(0, 0\)": (torch.full((6, 2), np.inf), ONES),
    r"points.left must hold real numbers; got dtype complex128": (ONES * 1j, ONES),
    r"points.right must be a rectangular array of numbers": (ONES, [[1.0], [1.0, 2.0]]),
    r"points must lie within distances that float32 can hold": (WILD * 1e200, ONES * 1e-30),
    r"points must lie within distances that float32 can": (WILD * 1e30, ONES * 1e30),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_factors_are_named(message):
    with pytest.raises(ValueError, match=message):
        robustfl.select(OuterProducts(*BAD[message]), ratio=0.5)
    with pytest.raises(ValueError, match=message):
        weights.ball(OuterProducts(*BAD[message]), None, [0], 1.0)


def test_metrics_they_do_not_have():
    rule = "one of euclidean, sqeuclidean, cosine for OuterProducts; got 'precomputed'"
    for method in SELECTORS:
        with pytest.raises(ValueError, match=rule):
            robustfl.select(POINTS, method=method, ratio=0.5, metric="precomputed")
    with pytest.raises(ValueError, match="metric must be one of euclidean.*got 'l1'"):
        weights.cluster(POINTS, LABELS, PICKS, metric="l1")
    with pytest.raises(ValueError, match="points must have no zero row for metric='cosine'"):
        robustfl.select(OuterProducts(ONES, ONES * 0), ratio=0.5, metric="cosine")
    with pytest.raises(ValueError, match=r"labels must have shape \(90,\).*got \(5,\)"):
        robustfl.select(POINTS, np.arange(5), ratio=0.5)
