"""The readable name of a run, which is its folder and its packed record's file name.

Hyphens stand between the words of a name and nowhere else, so that a method of two words is one
word of the name: `cifar10-robust-symmetric0.4-facility_location0.4-ball2-seed0`. Commas and equals
signs would read better still, but a workflow hands a name on as `rule:name=value,name=value`.
"""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

from robustfl.study.run_spec import RunSpec

SEED = re.compile(r"-seed(\d+)$")

# Fields that stand in every name's head or tail, or in a word of their own.
NAMED = frozenset(
    {
        "dataset",
        "seed",
        "noise",
        "noise_rate",
        "method",
        "ratio",
        "weights",
        "radius",
        "radius_unit",
        "pretrained",
    }
)


def readable_name(protocol: str, base: RunSpec, spec: RunSpec) -> str:
    """Folder of a run: data set, protocol, then what differs from the protocol, then the seed.

    base: the protocol itself.
    """
    # what is read of a run first: its data, its method and its weights
    words = [spec.dataset, protocol]
    if spec.noise != "none":
        words.append(f"{spec.noise}{spec.noise_rate:g}")
    words.append(spec.method if spec.method == "full" else f"{spec.method}{spec.ratio:g}")
    if spec.weights == "ball":
        unit = "median" if spec.radius_unit == "median" else ""
        words.append(f"ball{spec.radius:g}{unit}")
    elif spec.weights != "uniform":
        words.append(f"{spec.weights}_weights")
    if spec.pretrained and not _always_pretrained(spec):
        words.append("pretrained")

    # whatever else differs, in the order of the fields
    for f in fields(spec):
        value = getattr(spec, f.name)
        unread = f.name == "warmup" and spec.method == "full"  # all epochs are on the full set
        if f.name not in NAMED and value != getattr(base, f.name) and not unread:
            words.append(_word(f.name, value))
    return "-".join([*words, f"seed{spec.seed}"])


def without_seed(name: str) -> str:
    """What the runs of one row have in common in their names."""
    return SEED.sub("", name)


def seed_of(name: str) -> int | None:
    """The seed that a run's name ends in; None for a text that is no run's name."""
    seed = SEED.search(name)
    return None if seed is None else int(seed[1])


def _word(field: str, value: Any) -> str:
    """A field and its value, as `batch_size16`; a text stands for itself."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        text = f"{value:g}"
    elif isinstance(value, tuple):
        entries = ("to".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in value)
        text = ".".join(entries) or "none"
    else:
        text = str(value)
    return f"{field}{text}"


def _always_pretrained(spec: RunSpec) -> bool:
    """Whether the run has no other points than those of a finished model.

    Its name need not say so.
    """
    return (
        spec.method == "set_cover"
        or spec.embedding == "forgetting"
        or spec.update_rule == "raw_clusters"
    )
