"""Label noise, drawn once per data set, kind, rate and seed: every method sees the same labels.

Each kind takes labels (n,) int64, the number of classes, the rate, a generator and, for asymmetric
noise, pairs of classes, and returns the noisy labels (n,). Whether and where a label moves depends
only on that point's two random draws.
"""

from __future__ import annotations

import numpy as np

from robustfl import rng


def symmetric(
    labels: np.ndarray, classes: int, rate: float, generator: np.random.Generator, pairs: tuple
) -> np.ndarray:
    """With probability `rate` the label becomes another class, uniformly.

    Called so by Mirzasoleiman, Cao, Leskovec 2020, section 5; the slides call it agnostic.
    """
    # both draws are made for every point, so that none depends on which other labels move
    flip = generator.random(len(labels)) < rate
    share = generator.random(len(labels))
    shift = 1 + (share * (classes - 1)).astype(np.int64)  # 1 .. classes - 1: never the origin
    return np.where(flip, (labels + shift) % classes, labels)


def pair(
    labels: np.ndarray, classes: int, rate: float, generator: np.random.Generator, pairs: tuple
) -> np.ndarray:
    """With probability `rate` class c becomes c + 1 mod classes.

    Han et al., "Co-teaching", NeurIPS 2018, "pair".
    """
    return np.where(generator.random(len(labels)) < rate, (labels + 1) % classes, labels)


def asymmetric(
    labels: np.ndarray, classes: int, rate: float, generator: np.random.Generator, pairs: tuple
) -> np.ndarray:
    """With probability `rate` the label of a mapped class becomes the class it is mapped to.

    pairs: ((from, to), ...), truck to automobile for example; other classes stay clean. Raises
    ValueError for a class that is not there, or mapped to itself. Patrini et al., CVPR 2017.
    """
    # (classes,) where each class goes; a class that no pair names goes to itself
    target = np.arange(classes)
    for origin, goal in pairs:
        if not (0 <= origin < classes and 0 <= goal < classes and origin != goal):
            raise ValueError(
                f"noise_map must map a class to another, both in 0 .. {classes - 1};"
                f" got {origin} to {goal}"
            )
        target[origin] = goal
    return np.where(generator.random(len(labels)) < rate, target[labels], labels)


# A new kind of noise = one function and one line here (and its name in run_spec.NOISES).
NOISES = {
    "symmetric": symmetric,
    "asymmetric": asymmetric,
    "pair": pair,
}


def apply(
    labels: np.ndarray, classes: int, kind: str, rate: float, seed: int, pairs: tuple = ()
) -> tuple[np.ndarray, float]:
    """labels (n,) -> (noisy labels (n,) int64, measured share of changed labels).

    The input is left as it is. pairs: ((from, to), ...) class numbers, for asymmetric. Raises
    ValueError for an unknown kind or a rate outside [0, 1).

    >>> noisy, measured = apply(np.zeros(1000), classes=10, kind="pair", rate=0.4, seed=0)
    >>> sorted(set(noisy.tolist())), round(measured, 1)
    ([0, 1], 0.4)
    """
    labels = np.asarray(labels, dtype=np.int64)
    if kind == "none":
        return labels.copy(), 0.0
    if kind not in NOISES:
        raise ValueError(f"noise must be one of none, {', '.join(NOISES)}; got {kind!r}")
    if not 0 <= rate < 1:
        raise ValueError(f"noise_rate must be in [0, 1); got {rate}")
    # the kind and rate name the stream, so that no two kinds of noise share their draws
    noisy = NOISES[kind](labels, classes, rate, rng.stream(seed, f"noise/{kind}/{rate:g}"), pairs)
    return noisy, float((noisy != labels).mean())
