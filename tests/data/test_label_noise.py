import numpy as np
import pytest

from robustfl.data import label_noise

LABELS = np.random.default_rng(0).integers(0, 10, 20000)


@pytest.mark.parametrize("kind", ["symmetric", "pair"])
@pytest.mark.parametrize("rate", [0.2, 0.4])
def test_rate_meets_its_expectation(kind, rate):
    noisy, measured = label_noise.apply(LABELS, 10, kind, rate, seed=1)
    assert abs(measured - rate) < 4 * np.sqrt(rate * (1 - rate) / len(LABELS))
    assert measured == (noisy != LABELS).mean()


def test_symmetric_is_uniform_over_the_other_classes():
    noisy, measured = label_noise.apply(LABELS, 10, "symmetric", 0.4, seed=2)
    flipped = noisy != LABELS
    shift = np.bincount((noisy - LABELS)[flipped] % 10, minlength=10)
    assert shift[0] == 0, "no flipped label equals its origin"
    expected = flipped.sum() / 9
    assert np.abs(shift[1:] - expected).max() < 5 * np.sqrt(expected)


def test_pair_moves_to_the_next_class():
    noisy, _ = label_noise.apply(LABELS, 10, "pair", 0.3, seed=3)
    flipped = noisy != LABELS
    assert np.array_equal(noisy[flipped], (LABELS[flipped] + 1) % 10)


def test_asymmetric_follows_its_map():
    noisy, measured = label_noise.apply(
        LABELS, 10, "asymmetric", 0.4, seed=4, pairs=((9, 1), (2, 0))
    )
    flipped = noisy != LABELS
    assert set(zip(LABELS[flipped], noisy[flipped])) == {(9, 1), (2, 0)}
    mapped = np.isin(LABELS, (9, 2))
    assert abs(flipped[mapped].mean() - 0.4) < 4 * np.sqrt(0.24 / mapped.sum())
    assert measured == pytest.approx(flipped.mean())


def test_noise_is_drawn_once_per_seed():
    one, two = (label_noise.apply(LABELS, 10, "symmetric", 0.4, seed=5)[0] for _ in range(2))
    assert np.array_equal(one, two)
    other = label_noise.apply(LABELS, 10, "symmetric", 0.4, seed=6)[0]
    assert (one != other).mean() > 0.3


def test_input_is_untouched_and_none_is_none():
    before = LABELS.copy()
    noisy, measured = label_noise.apply(LABELS, 10, "none", 0.0, seed=0)
    noisy[:] = 0
    label_noise.apply(LABELS, 10, "pair", 0.5, seed=0)
    assert np.array_equal(LABELS, before) and measured == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("loud", 0.1), "noise must be one of"),
        (("pair", 1.0), r"noise_rate must be in \[0, 1\); got 1.0"),
        (("asymmetric", 0.1, 0, ((3, 3),)), "noise_map must map a class to another"),
    ],
)
def test_bad_input(arguments, message):
    kind, rate, *rest = arguments
    with pytest.raises(ValueError, match=message):
        label_noise.apply(LABELS, 10, kind, rate, *(rest or (0,)))
