"""Whatever is given: the documented result, or one ValueError that names parameter, rule and value.

Never another exception, never a hang, never a part of a file. `--hypothesis-profile=long` tries
thousands of inputs.
"""

import contextlib
import io
import re
import signal
import tempfile
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

import robustfl
from robustfl import cli
from robustfl.selection import SELECTORS, OuterProducts, validation
from robustfl.selection.api import planned_size
from robustfl.selection.sampler import CoresetSampler, Indexed

SECONDS = 30  # more than any of these small inputs may take, also while numba compiles
BOUNDED = settings(suppress_health_check=list(HealthCheck), deadline=None)

NAMES = (
    "points points.left points.right labels method ratio radius metric seed weights engine "
    "algorithm epsilon memory cover_radius options loader model every warmup shuffle rank "
    "num_replicas epoch state"
).split()
# "ratio must be in (0, 1]; got 2", and with the two names of a pair
RULE = re.compile(rf"^({'|'.join(map(re.escape, NAMES))})\b.* must (?s:.*)(; got |: ).")


@contextlib.contextmanager
def no_hang():
    """Fails where the body, as far as it is Python, takes longer than SECONDS."""

    def stop(*_):
        pytest.fail(f"took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def strict():
    """Every stray warning is an error, and numpy's own errors are raised."""
    with warnings.catch_warnings(), np.errstate(all="raise"), no_hang():
        warnings.simplefilter("error")
        for ours in ("set_cover: no radius", "facility_location: ", "centrality: "):
            warnings.filterwarnings("ignore", ours, UserWarning)
        yield


class Duck:
    """An object whose conversions and `repr` raise."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def __array__(self, dtype=None, copy=None):
        raise self.error("quack")

    def __repr__(self):
        raise self.error("quack")


class Typed(torch.Tensor):
    """A tensor of a library of its own."""


def spoiled(array: np.ndarray, value: float) -> np.ndarray:
    array = np.array(array, dtype=np.float64)
    array.flat[array.size // 2] = value
    return array


def single(array: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return array.astype(np.float32)


def masked(array: np.ndarray) -> np.ma.MaskedArray:
    return np.ma.masked_array(array, mask=np.arange(array.size).reshape(array.shape) % 5 == 3)


def archive() -> np.lib.npyio.NpzFile:
    file = io.BytesIO()
    np.savez(file, X=np.eye(3))
    file.seek(0)
    return np.load(file)


# what a parameter may be that is no array at all
NOTHINGS = st.sampled_from(
    [None, True, 3, 2.5, "text", b"bytes", {}, {"a": 1}, [], [[]], set(), object(), 1j]
    + [range(4), np.float32(1), np.array(7.0), Duck(KeyError), Duck(RuntimeError), len]
)

# how an array may be given, of the same numbers
FORMS = st.sampled_from(
    [
        np.asarray,
        lambda a: a.tolist(),
        single,
        lambda a: a.astype(a.dtype.newbyteorder()),
        lambda a: a.astype(np.longdouble),
        lambda a: np.asfortranarray(a)[::-1][::-1],
        lambda a: np.ma.masked_array(a),
        lambda a: a.view(np.matrix) if a.ndim == 2 else a,
        torch.from_numpy,
        lambda a: torch.from_numpy(a).bfloat16().as_subclass(Typed),
        lambda a: torch.nn.Parameter(torch.from_numpy(a).double()),
    ]
)
# and how it may be spoiled
SPOILS = st.sampled_from(
    [
        masked,
        lambda a: spoiled(a, np.nan),
        lambda a: spoiled(a, -np.inf),
        lambda a: a.astype(str),
        lambda a: a.astype(complex),
        lambda a: a.astype(object),
        lambda a: np.full(a.shape, "2020-01-01", "datetime64[D]"),
        lambda a: a[..., None],
        lambda a: a[:0],
        lambda a: a.reshape(-1)[: a.size // 2],
        lambda a: [*a.tolist()[:-1], [1.0]],
        lambda a: [masked(a.reshape(-1)), a.reshape(-1)],
        lambda a: scipy.sparse.csr_matrix(np.atleast_2d(a)),
        lambda a: torch.from_numpy(a).to_sparse(),
        lambda a: torch.from_numpy(a).to("meta"),
        lambda a: torch.from_numpy(a).cfloat(),
        lambda a: archive(),
        np.zeros_like,
        lambda a: a.astype(np.longdouble) * np.longdouble("1e400"),
    ]
)
SCALES = st.sampled_from([1.0, 1.0, 1.0, 0.0, 1e-300, 1e-30, 1e30, 1e150, 1e300])


@st.composite
def faults(draw, *names: str):
    """The parameters that are given something odd: often none, mostly one, so that none hides
    another."""
    return draw(st.lists(st.sampled_from(names), max_size=2, unique=True))


@st.composite
def arrays(draw, array: np.ndarray, odd: bool):
    """The array in a form of any kind, or something that it should not be."""
    if odd:
        return draw(NOTHINGS) if draw(st.integers(0, 3)) == 0 else draw(SPOILS)(array)
    return draw(FORMS)(array)


@st.composite
def instances(draw, odd: list[str], metric: str):
    """(points, labels) of up to 30 points, as `metric` wants them."""
    n, d = draw(st.integers(1, 30)), draw(st.integers(1, 4))
    r = np.random.default_rng(draw(st.integers(0, 99)))
    scale = draw(SCALES) if draw(st.booleans()) else 1.0
    points = r.normal(size=(n, d)) * scale
    if draw(st.booleans()):
        points = points[r.integers(0, n, n)]  # duplicates
    if draw(st.integers(0, 5)) == 0:
        points[0] += draw(st.sampled_from([1.0, 1e6, 1e30, 1e300]))
    if metric == "precomputed":
        with np.errstate(all="ignore"):
            points = points @ points.T

    given = draw(arrays(points, "points" in odd))
    if metric != "precomputed" and draw(st.integers(0, 5)) == 0:
        given = OuterProducts(given, draw(arrays(np.ones((n, 2)), "points" in odd)))
    labels = r.integers(0, draw(st.integers(1, 4)), n) - draw(st.integers(0, 1))
    return given, draw(st.one_of(st.none(), arrays(labels, "labels" in odd)))


REALS = st.one_of(
    st.floats(),
    st.floats(width=32).map(np.float32),
    st.floats(width=16).map(np.float16),
    st.integers(-3, 3),
    st.sampled_from([10**400, -(10**5000), Fraction(1, 3), np.longdouble("1e400"), np.int8(1)]),
    NOTHINGS,
)
SHARES = st.one_of(
    st.floats(0, 1, exclude_min=True),
    st.floats(2**-9, 1, width=16).map(np.float16),
    st.builds(lambda k, n: k / n, st.integers(1, 30), st.integers(30, 40)),
)
RADII = st.floats(0, 3.4e38) | st.floats(0, 5) | st.floats(0, 5, width=32).map(np.float32)
GOOD = {
    "method": st.sampled_from(sorted(SELECTORS)),
    "ratio": SHARES,
    "radius": st.none() | RADII,
    "metric": st.sampled_from(validation.METRICS),
    "seed": st.integers(0, 2**70),
    "weights": st.sampled_from([None, *validation.WEIGHTS]),
    "engine": st.sampled_from(["auto", "numba", "numpy", "torch"]),
    "algorithm": st.sampled_from(validation.ALGORITHMS),
    "epsilon": st.floats(0, 1, exclude_min=True, exclude_max=True),
    "memory": st.none() | st.integers(24, 10**6) | st.floats(24, 1e300),
    "cover_radius": st.none() | RADII,
}
OWN_OPTIONS = {
    "facility_location": ["engine", "algorithm", "epsilon", "memory"],
    "set_cover": ["cover_radius"],
}


@st.composite
def settings_given(draw, odd: list[str]):
    """Keyword arguments of `select`."""
    method = draw(GOOD["method"])
    names = ["metric", "seed", "weights", "radius", *OWN_OPTIONS.get(method, [])]
    chosen = {"method": method} | {name: draw(GOOD[name]) for name in ["ratio", *names]}
    for name in names:
        if draw(st.booleans()):
            del chosen[name]
    for name in set(odd) & {"method", "ratio", "k", *names}:
        chosen[name] = draw(REALS)
    return chosen


@st.composite
def calls(draw):
    """(points, labels, keyword arguments) of `select`."""
    odd = draw(faults("points", "labels", "k", *GOOD))
    chosen = draw(settings_given(odd))
    return *draw(instances(odd, chosen.get("metric"))), chosen


def check_selection(picked, n: int, labels: np.ndarray, chosen: dict) -> None:
    """The contract of `Selection`, and the number of picks."""
    assert len(picked) == len(picked.indices) == len(picked.weights) == len(picked.gains)
    assert len(np.unique(picked.indices)) == len(picked)
    assert ((picked.indices >= 0) & (picked.indices < n)).all()
    assert np.isfinite(picked.weights).all() and np.isfinite(picked.gains).all()
    assert (picked.weights >= 1).all()
    if chosen["method"] != "set_cover":
        assert len(picked) == planned_size(chosen["method"], chosen["ratio"], labels)


def check_error(error: BaseException, chosen: dict) -> None:
    """One ValueError that names what is wrong, or the MemoryError that is documented."""
    event(f"refused: {str(error).partition(' ')[0]}")
    if isinstance(error, MemoryError):
        assert chosen.get("algorithm") == "exact" and "algorithm='exact'" in str(error)
        return
    assert type(error) is ValueError and RULE.match(str(error)), repr(error)
    assert len(str(error)) < 400, str(error)


@given(calls())
@BOUNDED
def test_select(call):
    points, labels, chosen = call
    with strict():
        try:
            picked = robustfl.select(points, labels, **chosen)
        except Exception as error:
            check_error(error, chosen)
            return
    n = len(points)
    given_labels = validation.labels(labels, n)
    check_selection(picked, n, given_labels, chosen)
    event("a selection")


# the sampler: its loader, its model and its own settings


class Stream(IterableDataset):
    """Twelve samples without a length or positions."""

    def __iter__(self):
        return iter([(torch.zeros(3), 0)] * 12)


class Dicts(TensorDataset):
    """Samples that are dicts."""

    def __getitem__(self, index):
        return dict(zip("xy", super().__getitem__(index)))


class Odd(nn.Module):
    """A model whose answer is made by a function of its inputs."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, inputs):
        return self.answer(inputs)


def kept(batch: list) -> list:
    return default_collate([sample for i, sample in enumerate(batch) if i != 1])


def loader_of(n: int, labels: str, dataset: str, how: str, batch: int):
    """A DataLoader over n samples; the words are keys of the dicts below."""
    x, y = torch.arange(3.0 * n).reshape(n, 3) % 7, torch.arange(n) % 3
    y = LABELS[labels](y)
    data = DATASETS[dataset](TensorDataset(x, y))
    return LOADERS[how](data, batch)


LABELS = {
    "plain": lambda y: y,
    "uint8": lambda y: y.to(torch.uint8),
    "float": lambda y: y.float(),
    "bool": lambda y: y > 0,
    "negative": lambda y: y - 1,
    "too large": lambda y: y + 9,
    "column": lambda y: y[:, None],
    "complex": lambda y: y.cfloat(),
}
DATASETS = {
    "plain": lambda data: data,
    "indexed": Indexed,
    "no labels": lambda data: TensorDataset(data.tensors[0]),
    "dicts": lambda data: Dicts(*data.tensors),
    "indexed dicts": lambda data: Indexed(Dicts(*data.tensors)),
}
LOADERS = {
    "plain": lambda data, b: DataLoader(data, batch_size=b),
    "drops": lambda data, b: DataLoader(data, batch_size=b, drop_last=True),
    "no batches": lambda data, b: DataLoader(data, batch_size=None),
    "loses": lambda data, b: DataLoader(data, batch_size=b + 1, collate_fn=kept),
    "lists": lambda data, b: DataLoader(data, batch_size=b, collate_fn=lambda batch: batch),
    "turns": lambda data, b: DataLoader(
        data, batch_size=b, collate_fn=lambda batch: default_collate(batch[::-1])
    ),
    "some": lambda data, b: DataLoader(data, batch_size=b, sampler=[0]),
    "another's": lambda data, b: DataLoader(data, sampler=SequentialSampler(range(2))),
    "own batches": lambda data, b: DataLoader(
        data, batch_sampler=BatchSampler(SequentialSampler(data), b, False)
    ),
    "random": lambda data, b: DataLoader(
        data, batch_sampler=BatchSampler(RandomSampler([*range(9)]), b, False)
    ),
    "stream": lambda data, b: DataLoader(Stream(), batch_size=b),
    "no loader": lambda data, b: data,
    "none": lambda data, b: None,
}
MODELS = {
    "plain": [nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4)), nn.Identity()],
    "odd": [Odd(lambda x: (x, x)), Odd(lambda x: x[:, :1]), Odd(lambda x: x[0]), 3, None]
    + [Odd(lambda x: x * torch.nan), Odd(lambda x: 1e30 * x), Odd(lambda x: {"logits": x})],
}
POINTS = {
    "plain": [None, lambda m, x, y: x, lambda m, x, y: x.numpy()],
    "odd": [3, lambda m, x, y: x[:1], lambda m, x, y: None, lambda m, x, y: x @ x.T],
}
OWN = {"every": st.integers(1, 3), "warmup": st.integers(0, 2), "shuffle": st.booleans()}


@st.composite
def samplers(draw):
    """(loader, model, keyword arguments) of a CoresetSampler."""
    odd = draw(faults("labels", "dataset", "loader", "model", "points", "rank", *GOOD, *OWN))

    def word(name: str, words: dict) -> str:
        return draw(st.sampled_from(list(words))) if name in odd else "plain"

    size = draw(st.integers(0 if "dataset" in odd else 1, 20))
    words = word("labels", LABELS), word("dataset", DATASETS), word("loader", LOADERS)
    try:
        loader = loader_of(size, *words, draw(st.integers(1, 8)))
    except (TypeError, ValueError):  # torch's own refusal
        loader = None
    model = draw(st.sampled_from(MODELS["odd" if "model" in odd else "plain"]))

    chosen = draw(settings_given(odd)) | {name: draw(good) for name, good in OWN.items()}
    for name in set(odd) & set(OWN):
        chosen[name] = draw(REALS)
    chosen["points"] = draw(st.sampled_from(POINTS["odd" if "points" in odd else "plain"]))
    if "rank" in odd:
        chosen["rank"], chosen["num_replicas"] = draw(REALS), draw(REALS)
    elif draw(st.booleans()):
        chosen["num_replicas"] = draw(st.integers(1, 2))
        chosen["rank"] = draw(st.integers(0, chosen["num_replicas"] - 1))
    return loader, model, chosen


@given(samplers())
@BOUNDED
def test_sampler(drawn):
    loader, model, chosen = drawn
    modes = [m.training for m in model.modules()] if isinstance(model, nn.Module) else []
    with strict():
        try:
            sampler = CoresetSampler(loader, model, **chosen)
            for _ in range(3):
                planned = len(sampler)
                positions = list(sampler)
                if chosen["method"] != "set_cover" or sampler.selection is None:
                    assert len(positions) == planned
                assert len(set(positions)) == len(positions)
                assert set(positions) <= set(range(len(loader.dataset)))
                assert sampler.weights.isfinite().all()
                saved = CoresetSampler(loader, model, **chosen)
                saved.load_state_dict(sampler.state_dict())
                assert torch.equal(saved.weights, sampler.weights)
                assert saved.epoch == sampler.epoch
            event("three epochs")
        except (ValueError, MemoryError) as error:
            check_error(error, chosen)
    if isinstance(model, nn.Module):
        assert modes == [m.training for m in model.modules()]


# the command


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


GOOD_FILES = [npy(np.random.default_rng(0).normal(size=(20, 3))), npy(np.arange(20) % 3)]
FILES = st.one_of(
    st.sampled_from(GOOD_FILES),
    st.binary(max_size=200),
    st.sampled_from([npy(np.eye(3, dtype=object)), npy(np.array(["a"])), npy(np.zeros((2, 0)))]),
    # a byte of a good file changed, or its end cut off
    st.builds(
        lambda good, at, byte: good[: at % len(good)] + bytes([byte]) + good[at % len(good) + 1 :],
        st.sampled_from(GOOD_FILES),
        st.integers(0, 10**6),
        st.integers(0, 255),
    ),
    st.builds(lambda good, at: good[:at], st.sampled_from(GOOD_FILES), st.integers(0, 400)),
)
WORDS = st.one_of(
    st.floats().map(str),
    st.integers(-2, 5).map(str),
    st.sampled_from(["", "nan", "0x1", "1_0", "facility_location", "exact", "-"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4),
)


@st.composite
def commands(draw):
    """(contents of X.npy, of y.npy or None, name of the output, the options) of `select`."""
    odd = draw(faults("points", "labels", "out", *GOOD))
    chosen = draw(settings_given([]))
    chosen = {name: str(value) for name, value in chosen.items() if value is not None}
    for name in set(odd) & set(GOOD):
        chosen[name] = draw(WORDS)
    points = draw(FILES) if "points" in odd else GOOD_FILES[0]
    labels = draw(FILES) if "labels" in odd else draw(st.sampled_from([None, GOOD_FILES[1]]))
    outs = ["", "absent/sel.npz", "y.npy", "a\nb.npz", "n" * 300] if "out" in odd else ["sel.npz"]
    return points, labels, draw(st.sampled_from(outs)), chosen


@given(commands())
@BOUNDED
def test_command(command):
    points, labels, out, chosen = command
    errors, printed = io.StringIO(), io.StringIO()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "X.npy").write_bytes(points)
        (folder / "y.npy").write_bytes(labels or b"")
        argv = ["select", f"--points={folder / 'X.npy'}", f"--out={folder / out}"]
        argv += [] if labels is None else [f"--labels={folder / 'y.npy'}"]
        argv += [f"--{name.replace('_', '-')}={word}" for name, word in chosen.items()]
        before = {p.name: p.read_bytes() for p in folder.iterdir()}
        with strict(), contextlib.redirect_stderr(errors), contextlib.redirect_stdout(printed):
            try:
                status = cli.main(argv)
            except SystemExit as end:  # argparse: its usage, and the option that it could not read
                assert end.code == 2 and "error: argument --" in errors.getvalue()
                errors = io.StringIO("robustfl select: \n")
                status = 2

        after = {p.name: p.read_bytes() for p in folder.iterdir()}
        event(f"status {status}")
        if status == 0:
            assert set(after) == set(before) | {out} and not errors.getvalue()
            with np.load(folder / out) as written:
                assert set(written) == {"indices", "weights", "gains"}
                assert len(written["indices"]) == len(written["weights"])
            return
        assert status in (1, 2) and after == before and not printed.getvalue()
        line = errors.getvalue()
        assert line.startswith("robustfl select: ") and line.count("\n") == 1, line
