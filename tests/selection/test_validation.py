"""What a caller passes in: numbers are taken as meant, and errors name what was really given."""

import io
import subprocess
import sys
import warnings
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse
import torch

import robustfl
from robustfl.selection import OuterProducts, validation, weights
from robustfl.selection.cover import numba_engine
from robustfl.selection.distances import ClassPoints
from robustfl.selection.greedy import fixed_point
from robustfl.selection.methods import by_norm

R = np.random.default_rng(1)
POINTS = R.normal(size=(300, 4))


# from a ratio to a number of points


@pytest.mark.parametrize(
    ("ratio", "n", "k"),
    [
        *[(0.29, 100, 29), (0.57, 100, 57), (0.58, 100, 58), (1 - 0.9, 100, 10), (0.7, 10, 7)],
        *[(0.57, 5000, 2850), (0.69, 5000, 3450), (0.3333, 3, 1), (1e-300, 7, 1), (5e-324, 7, 1)],
        *[
            (np.float32(0.7), 100, 70),
            (np.float16(0.7), 5000, 3500),
            (np.float32(0.1), 10**8, 10**7),
        ],
        *[(np.float32(2 / 7), 7, 2), (np.longdouble(0.7), 100, 70), (Fraction(1, 3), 3, 1)],
        *[(1, 7, 7), (np.nextafter(0.3, 0), 10, 3), (0.2999, 10, 2), (0.29999999, 10, 2)],
    ],
)
def test_a_ratio_is_the_number_that_was_written(ratio, n, k):
    assert validation.count(ratio, n) == k
    if n <= 300:
        assert len(robustfl.select(POINTS[:n], ratio=ratio, method="random")) == k


def test_k_of_n_points_are_k():
    for n in range(1, 400):
        for k in range(1, n + 1):
            assert validation.count(k / n, n) == validation.nearest_count(k / n, n) == k
    for n in (10**6 + 3, 10**9 + 7, 10**12 + 39):
        for k in (1, 12345, n // 3, n // 2, n - 1, n):
            assert validation.count(k / n, n) == k


def test_a_share_between_two_numbers_is_rounded_down_or_to_the_nearest():
    for n in (7, 50, 1386, 5000):
        for ratio in (0.1, 0.25, 0.5, 0.86668, 0.9999):
            exact = Fraction(str(ratio)) * n
            assert validation.count(ratio, n) == max(1, exact.__floor__())
            assert validation.nearest_count(ratio, n) == max(1, round(exact))


# radii, and other single numbers


@pytest.mark.parametrize("one", [np.float16(1), np.float32(1), np.float64(1), 1, Fraction(1)])
def test_a_radius_of_any_type_counts_the_same(one):
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        for method, name in (("random", "radius"), ("set_cover", "cover_radius")):
            picked = robustfl.select(POINTS, ratio=0.1, method=method, **{name: one})
            same = robustfl.select(POINTS, ratio=0.1, method=method, **{name: 1.0})
            assert np.array_equal(picked.weights, same.weights)


@pytest.mark.parametrize("radius", [1e39, 1e300, 10**400, np.longdouble("1e400")])
def test_a_radius_beyond_float32_is_refused(radius):
    for method, name in (("random", "radius"), ("set_cover", "cover_radius")):
        with pytest.raises(ValueError, match=f"^{name} must be .*; got "):
            robustfl.select(POINTS, ratio=0.1, method=method, **{name: radius})
    if isinstance(radius, float):
        assert (weights.ball(POINTS, None, [0, 1], 3e38, "median") == 300).all()


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize("radius", [0.0, 1e-45, 1.0, 2.0**-126, validation.FLOAT32])
def test_the_limit_of_a_radius_is_found_at_both_ends_of_float32(root, radius):
    most = numba_engine.limit(np.float32(radius), root, 1.0)
    with np.errstate(over="ignore"):
        for v, inside in ((most, True), (np.nextafter(most, np.inf), False)):
            assert (np.float32(np.sqrt(v) if root else v) <= np.float32(radius)) == inside


def test_errors_are_one_short_line_whatever_the_value():
    class Mute(float):
        def __repr__(self):
            raise KeyError("mute")

    for value in (10**5000, Mute(7), np.zeros(500), "x" * 500, [[1]] * 99):
        with pytest.raises(ValueError, match="^ratio must be in .0, 1.; got ") as caught:
            validation.ratio(value)
        assert len(str(caught.value)) < 120 and "\n" not in str(caught.value)


# arrays that hold no numbers, or hide some


class Typed(torch.Tensor):
    """A tensor of a library of its own."""


class Raises:
    def __array__(self, dtype=None, copy=None):
        raise KeyError("boom")


def archive():
    file = io.BytesIO()
    np.savez(file, X=np.eye(3), y=np.arange(3))
    file.seek(0)
    return np.load(file)


def masked(shape: tuple[int, ...]) -> np.ma.MaskedArray:
    data = np.ma.masked_array(np.zeros(shape, dtype=int))
    data[1] = np.ma.masked
    return data


NOT_POINTS = {
    "dense array; got a sparse csr matrix": scipy.sparse.csr_matrix(np.eye(9)),
    "dense array; got a sparse coo matrix": scipy.sparse.coo_array(np.eye(9)),
    "dense tensor of real numbers; got Tensor: torch.sparse_coo": torch.eye(9).to_sparse(),
    "dense tensor of real numbers; got Tensor: .*complex": torch.eye(9).cfloat(),
    "one array; got an .npz archive of: X, y": archive(),
    "have no masked entries; got 3 of 27": masked((9, 3)),
    "have no masked entries; got 1 of 3": [np.zeros(3), masked((3,))],
    "hold real numbers; got None": None,
    "hold real numbers; got one object": object(),
    "hold real numbers; got text": [["a", 1.0]],
    "hold real numbers; got dates": np.full((9, 2), "2020-01-01", "datetime64[D]"),
    "hold real numbers; got durations": np.zeros((9, 2), "timedelta64[s]"),
    r"hold real numbers; got dtype \[\('a', '<f8'\)\]": np.zeros(4, [("a", float)]),
    r"rectangular array of numbers; .*\(KeyError in Raises\)": Raises(),
}
NOT_LABELS = {
    "be integers; got text": ["cat"] * 9,
    "be integers; got dates": np.full(9, "2020-01-01", "datetime64[D]"),
    "be integers; got dtype object": [0, None, *range(7)],
    "be integers; got dtype float64": np.zeros(9),
    "dense array; got a sparse csr matrix": scipy.sparse.csr_matrix(np.arange(9)),
    "have no masked entries; got 1 of 9": masked((9,)),
}


@pytest.mark.parametrize("message", NOT_POINTS)
def test_points_that_are_none_are_named_by_what_they_are(message):
    with pytest.raises(ValueError, match=f"^points must (be an? |be )?{message}"):
        robustfl.select(NOT_POINTS[message], ratio=0.5)


@pytest.mark.parametrize("message", NOT_LABELS)
def test_labels_that_are_none_are_named_by_what_they_are(message):
    with pytest.raises(ValueError, match=f"^labels must (be an? )?{message}"):
        robustfl.select(np.eye(9), NOT_LABELS[message], ratio=0.5)
    with pytest.raises(ValueError, match="^indices must have no masked entries; got 1 of 9"):
        weights.cluster(np.eye(9), None, masked((9,)))


@pytest.mark.parametrize("engine", ["numba", "numpy", "torch"])
@pytest.mark.parametrize(
    "form", [">f4", "<f8", ">f8", np.longdouble, "bfloat16", "subclass", "mask"]
)
def test_numbers_in_every_form_are_taken(engine, form):
    points = np.round(POINTS[:40], 1).astype(np.float32)
    coarse = torch.from_numpy(points).bfloat16()
    given = {
        "bfloat16": coarse.as_subclass(Typed),
        "subclass": torch.from_numpy(points).requires_grad_().as_subclass(Typed),
        "mask": np.ma.masked_array(points, mask=np.zeros(points.shape, dtype=bool)),
    }
    plain = coarse.float().numpy() if form == "bfloat16" else points
    same = given[form] if form in given else points.astype(form)
    one, two = (
        robustfl.select(p, np.arange(40) % 2, ratio=0.3, engine=engine) for p in (plain, same)
    )
    assert np.array_equal(one.indices, two.indices) and np.array_equal(one.weights, two.weights)


def test_a_zero_row_under_cosine_is_told_by_its_position():
    points = np.ones((9, 2))
    points[[4, 7]] = 0
    labels = np.arange(9) % 2
    with pytest.raises(ValueError, match="no zero row for metric='cosine'; got 2, the first at 4"):
        robustfl.select(points, labels, ratio=0.5, metric="cosine")


# what callers and types set does not matter


def test_a_callers_errstate_changes_nothing():
    tiny = POINTS * 1e-200
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in ("facility_location", "set_cover", "centrality", "el2n"):
            robustfl.select(tiny, ratio=0.5, method=method, cover_radius=1.0) if (
                method == "set_cover"
            ) else robustfl.select(tiny, ratio=0.5, method=method)
        with pytest.raises(ValueError, match="points must lie within distances that float32"):
            robustfl.select([[-1e308], [1e308]], ratio=0.5)


def test_set_cover_of_the_largest_radius_ends():
    code = (
        "import numpy as np; from robustfl import select; print(len(select(np.eye(50), ratio=.1, "
        f"method='set_cover', cover_radius={validation.FLOAT32!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "1", done.stderr


def test_norms_are_right_from_one_end_of_float64_to_the_other():
    lengths = np.arange(1.0, 41)
    for scale in (1.0, 1e-300, 1e-150, 1e150, 1e300):
        points = np.outer(lengths, [3.0, 4.0]) * scale
        norms = by_norm._norms(points)
        assert norms == pytest.approx(5 * lengths * scale, rel=1e-15)
        assert np.array_equal(by_norm._norms(OuterProducts(points, np.ones((40, 1)))), norms)
    with pytest.raises(ValueError, match="points must have lengths that float64 can hold"):
        robustfl.select([[1.7e308, 1.7e308]], ratio=0.5, method="el2n")


# the grid of similarities


def exact_picks(points: np.ndarray, k: int) -> tuple[list[int], np.ndarray]:
    """Greedy facility location in float64, and the distances."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    nearest = np.full(len(points), distances.max())
    picks = []
    for _ in range(k):
        gains = np.maximum(nearest[:, None] - distances, 0).sum(0)
        gains[picks] = -1
        picks.append(int(gains.argmax()))
        nearest = np.minimum(nearest, distances[:, picks[-1]])
    return picks, distances


@pytest.mark.parametrize("power", range(9))
def test_a_point_that_flattens_the_grid_is_told(power):
    """Where it is not told, the picks are nearly as near as those of float64."""
    points = POINTS.copy()
    points[137] += 10.0**power
    picks, distances = exact_picks(points, 60)
    rest = np.arange(300) != 137

    def cost(indices) -> float:
        return distances[np.ix_(rest, [i for i in indices if i != 137])].min(1).mean()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = robustfl.select(points, ratio=0.2).indices
    assert cost(found) < 1.002 * cost(picks) or told
    assert bool(told) == (power >= 5)
    if told:
        step = fixed_point.quantum(ClassPoints(points).max_distance)[0]
        assert f"as coarse as {step:.3g}, but nine in ten points are" in str(told[0].message)


def test_other_flat_grids_are_told_and_duplicates_are_not():
    apart = POINTS.copy()
    apart[150:] += 1e7
    far = POINTS.copy()
    far[137] += 1e7
    similarity = np.exp(-np.linalg.norm(POINTS[:, None] - POINTS[None], axis=2))
    similarity[5, 5] = 1e9
    for points, options in (
        (apart, {}),
        (similarity, {"metric": "precomputed"}),
        (apart, {"algorithm": "stochastic"}),
        (far, {"method": "centrality"}),
    ):
        with pytest.warns(UserWarning, match="far points make the grid of distances as coarse"):
            robustfl.select(points, ratio=0.2, **options)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        robustfl.select(POINTS[R.integers(0, 9, 200)], ratio=0.5)
        robustfl.select(np.zeros((20, 2)), ratio=0.5)
        for ratio in (0.01, 0.5, 0.99, 1.0):
            robustfl.select(POINTS, ratio=ratio)
            robustfl.select(R.normal(size=(2000, 1)), ratio=ratio)
