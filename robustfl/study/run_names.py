"""The readable name of a run, which is its folder and its packed record's file name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from robustfl.study.run_spec import RunSpec

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
        words.append(f"{spec.weights}-weights")
    if spec.pretrained and not _always_pretrained(spec):
        words.append("pretrained")

    # whatever else differs, in the order of the fields
    for f in fields(spec):
        value = getattr(spec, f.name)
        unread = f.name == "warmup" and spec.method == "full"  # all epochs are on the full set
        if f.name not in NAMED and value != getattr(base, f.name) and not unread:
            words.append(_word(f.name, value))
    return "_".join([*words, f"seed{spec.seed}"])


def _word(field: str, value: Any) -> str:
    """A field and its value, as `batch-size16`; a text stands for itself."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        text = f"{value:g}"
    elif isinstance(value, tuple):
        entries = ("to".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in value)
        text = "-".join(entries) or "none"
    else:
        text = str(value)
    return f"{field.replace('_', '-')}{text}"


def _always_pretrained(spec: RunSpec) -> bool:
    """Whether the run has no other points than those of a finished model.

    Its name need not say so.
    """
    return spec.method == "set_cover" or spec.space == "forgetting" or spec.steps == "raw_clusters"
