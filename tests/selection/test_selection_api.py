"""The package tells editors what it offers, and `select` names an unknown option."""

import pytest

import robustfl


def test_lazy_names_are_listed():
    assert set(robustfl.__all__) <= set(dir(robustfl))
    assert all(getattr(robustfl, name).__name__ == name for name in robustfl.__all__)


@pytest.mark.parametrize(
    "method, message",
    [
        ("facility_location", "among: engine, algorithm, epsilon, memory; got 'engin'"),
        ("set_cover", "among: cover_radius; got 'engin'"),
        ("random", "among: none; got 'engin'"),
    ],
)
def test_an_unknown_option_is_named_with_the_options_of_the_method(method, message):
    with pytest.raises(ValueError, match=f"options of method='{method}' must be {message}"):
        robustfl.select([[0.0], [1.0]], method=method, ratio=0.5, engin="numba")
