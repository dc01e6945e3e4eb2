import numpy as np
import pytest

from robustfl import rng


def test_value_depends_on_its_index_alone():
    long, short = rng.stream(3, "crop", 7).random(1000), rng.stream(3, "crop", 7).random(10)
    assert np.array_equal(long[:10], short)


def test_streams_are_independent():
    triples = [(s, p, e) for s in (0, 1, 12) for p in ("crop", "shuffle") for e in (0, 1, 12)]
    draws = np.array([rng.stream(*t).random(4000) for t in triples])
    assert len({rng.key(*t) for t in triples}) == len(triples)
    off_diagonal = np.corrcoef(draws)[~np.eye(len(draws), dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(4000)  # 5 standard errors, 306 pairs


def test_global_state_is_untouched():
    before = np.random.get_state()[1].copy()
    rng.stream(0, "x").random(10)
    assert np.array_equal(before, np.random.get_state()[1])


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed must be >= 0; got -1"):
        rng.stream(-1, "x")
