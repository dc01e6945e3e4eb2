"""Every selector of the registry keeps the contract; `robustfl.select` names what is wrong."""

import numpy as np
import pytest
import torch

import robustfl
from robustfl.selection import SELECTORS, weights

RATIOS = pytest.mark.parametrize("ratio", [0.001, 0.3, 1.0])
METHODS = pytest.mark.parametrize("method", SELECTORS)


def cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    r = np.random.default_rng(0)
    points = r.normal(size=(60, 5)).astype(np.float32)
    return {
        "three classes": (points, r.integers(0, 3, 60)),
        "one class": (points, np.zeros(60, dtype=np.int64)),
        "one huge and one tiny": (points, (np.arange(60) == 7).astype(np.int8)),
        "duplicates": (points[r.integers(0, 5, 60)], r.integers(0, 3, 60)),
        "all equal": (np.full((20, 2), 0.1, dtype=np.float32), np.arange(20) % 2),
        "one point": (points[:1], np.array([3])),
        "negative labels": (points.astype(np.float64), r.integers(-4, 0, 60)),
        "far from the origin": (points + 1e6, r.integers(0, 2, 60)),
        "tiny": (points * 1e-6, r.integers(0, 2, 60)),
    }


@METHODS
@RATIOS
@pytest.mark.parametrize("case", cases())
@pytest.mark.filterwarnings("ignore:set_cover")
def test_contract(method, ratio, case):
    points, labels = cases()[case]
    before = points.copy(), labels.copy()
    picked, again = (
        SELECTORS[method](points, labels, ratio, np.random.default_rng(5)) for _ in range(2)
    )
    for name in ("indices", "weights", "gains"):
        assert np.array_equal(getattr(picked, name), getattr(again, name))
        assert np.isfinite(getattr(picked, name)).all() and getattr(picked, name).shape == (
            len(picked),
        )
    assert (
        picked.indices.dtype == np.int64
        and picked.weights.dtype == picked.gains.dtype == np.float64
    )
    assert np.array_equal(points, before[0]) and np.array_equal(labels, before[1])
    assert len(np.unique(picked.indices)) == len(picked)
    assert (np.diff(labels[picked.indices].astype(int)) >= 0).all()
    if method not in ("full", "set_cover"):
        for label in np.unique(labels):
            n = (labels == label).sum()
            assert (labels[picked.indices] == label).sum() == max(1, int(ratio * n))
            assert picked.weights[labels[picked.indices] == label].sum() == n
        assert np.array_equal(picked.weights, weights.cluster(points, labels, picked.indices))
    if ratio == 1 and case not in ("duplicates", "all equal"):
        assert np.array_equal(np.sort(picked.indices), np.arange(len(points)))


@METHODS
@pytest.mark.filterwarnings("ignore:set_cover")
def test_torch_and_numpy_give_the_same(method):
    points, labels = cases()["three classes"]
    one = robustfl.select(points, labels, method=method, ratio=0.3, radius=1.5, seed=4)
    two = robustfl.select(
        torch.from_numpy(points).requires_grad_(),
        torch.from_numpy(labels),
        method=method,
        ratio=0.3,
        radius=1.5,
        seed=4,
    )
    assert np.array_equal(one.indices, two.indices) and np.array_equal(one.weights, two.weights)


def test_seed_changes_the_random_subset_and_nothing_global():
    points, labels = cases()["three classes"]
    state = np.random.get_state()[1].copy()
    one, two = (
        robustfl.select(points, labels, method="random", ratio=0.3, seed=s).indices for s in (0, 1)
    )
    assert not np.array_equal(one, two) and np.array_equal(state, np.random.get_state()[1])


def test_centrality_is_the_order_of_row_sums():
    points, labels = cases()["one class"]
    distances = np.linalg.norm(points[:, None].astype(float) - points[None], axis=2)
    picked = robustfl.select(points, labels, method="centrality", ratio=0.5)
    assert np.array_equal(picked.indices, np.argsort(distances.sum(0), kind="stable")[:30])
    assert np.allclose(
        picked.gains, (distances.max() - distances).sum(0)[picked.indices], rtol=1e-5
    )


def test_weights_option():
    points, labels = cases()["three classes"]

    def take(**options):
        return robustfl.select(points, labels, ratio=0.3, **options).weights

    assert np.array_equal(take(weights="uniform"), np.ones(len(take())))
    assert np.array_equal(take(weights="cluster", radius=1.0), take())
    assert np.array_equal(take(radius=1.0), take(weights="ball", radius=1.0))
    assert (take(radius=0.0) == 1).all() and not np.array_equal(take(radius=2.0), take())


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
def test_metrics_against_their_similarity_matrix(metric):
    points, labels = cases()["three classes"]
    x = points.astype(float)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    distances = 1 - unit @ unit.T if metric == "cosine" else ((x[:, None] - x[None]) ** 2).sum(2)
    one = robustfl.select(points, labels, ratio=0.3, metric=metric)
    two = robustfl.select(100 - distances, labels, ratio=0.3, metric="precomputed")
    assert np.array_equal(one.indices, two.indices) and np.array_equal(one.weights, two.weights)
    assert np.allclose(one.gains, two.gains, rtol=1e-4, atol=1e-4)


GOOD = {"points": np.ones((6, 2)), "labels": np.arange(6) % 2, "ratio": 0.5}
BAD = {
    r"ratio must be in \(0, 1\]; got 1.2": {"ratio": 1.2},
    r"ratio must be in \(0, 1\]; got 0": {"ratio": 0},
    r"ratio must be in \(0, 1\]; got nan": {"ratio": float("nan")},
    r"ratio must be in \(0, 1\]; got '0.5'": {"ratio": "0.5"},
    r"points must have shape \(n, d\).*got \(6,\)": {"points": np.ones(6)},
    r"points must have shape \(n, d\).*got \(0, 2\)": {"points": np.ones((0, 2)), "labels": []},
    r"points must be finite; got nan at \(1, 0\)": {"points": np.array([[0.0], [np.nan]] * 3)},
    r"points must be finite; got inf": {"points": torch.tensor([[0.0], [np.inf]] * 3)},
    r"points must hold real numbers; got dtype object": {"points": np.ones((6, 2), dtype=object)},
    r"points must hold real numbers; got dtype complex": {"points": np.ones((6, 2), dtype=complex)},
    r"points must be a rectangular array": {"points": [[1.0], [1.0, 2.0]]},
    r"points must lie within distances that float32 can hold": {
        "points": np.array([[-1e39], [1e39]] * 3),
        "labels": None,
    },
    r"points must have no zero row for metric='cosine'": {
        "points": np.zeros((6, 2)),
        "metric": "cosine",
    },
    r"points must be a square similarity matrix": {"metric": "precomputed"},
    r"points must be a symmetric similarity matrix": {
        "points": np.arange(36.0).reshape(6, 6),
        "metric": "precomputed",
    },
    r"labels must have shape \(6,\).*got \(5,\)": {"labels": np.arange(5)},
    r"labels must be integers; got dtype float64": {"labels": np.ones(6)},
    r"labels must be integers; got dtype object": {"labels": np.array([1] * 6, dtype=object)},
    r"method must be one of facility_location.*got 'greedy'": {"method": "greedy"},
    r"metric must be one of euclidean.*got 'l1'": {"metric": "l1"},
    r"weights must be one of cluster.*got 'density'": {"weights": "density"},
    r"radius must be a finite number >= 0; got -1": {"radius": -1},
    r"radius must be a finite number >= 0; got inf": {"radius": np.inf},
    r"radius must be given for weights='ball'": {"weights": "ball"},
    r"seed must be a whole number >= 0; got -1": {"seed": -1},
    r"engine must be one of auto.*got 'gpu'": {"engine": "gpu"},
    r"algorithm must be one of auto.*got 'lazy'": {"algorithm": "lazy"},
    r"epsilon must be in \(0, 1\); got 1": {"algorithm": "stochastic", "epsilon": 1},
    r"memory must be at least 4 bytes for engine='numba'; got 1": {"memory": 1, "engine": "numba"},
    r"cover_radius must be a finite number >= 0; got -2": {
        "method": "set_cover",
        "cover_radius": -2,
    },
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_named(message):
    with pytest.raises(ValueError, match=message):
        robustfl.select(**{**GOOD, **BAD[message]})


@pytest.mark.parametrize("factor", [1e200, 1e-200])
def test_cosine_knows_no_scale(factor):
    points = np.random.default_rng(0).normal(size=(30, 4))
    picks = [
        robustfl.select(p, metric="cosine", ratio=0.4).indices for p in (points, points * factor)
    ]
    assert np.array_equal(*picks)


@pytest.mark.parametrize("method", sorted(set(SELECTORS) - {"full"}))
def test_points_beyond_float32_are_refused_by_every_method_that_looks_at_them(method):
    points = np.random.default_rng(0).normal(size=(30, 4)) * 1e200
    with pytest.raises(ValueError, match="distances that float32 can hold"):
        robustfl.select(points, method=method, ratio=0.4)


def test_ratio_is_checked_for_every_method():
    for ratio in ("a", 0, 1.2):
        with pytest.raises(ValueError, match=r"ratio must be in \(0, 1\]"):
            robustfl.select(np.zeros((3, 2)), method="full", ratio=ratio)
