"""The study: YAML files -> every run, once. Imports neither torch nor pandas, so that the DAG is built fast.

config/experiments.yaml holds protocols and groups, config/scales.yaml what a scale changes, config/config.yaml what a
user changes. A run that two groups share is one spec, hence one name and one training.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path

import yaml

from robustfl.spec import RunSpec, SpecError

CONFIG_DIR = Path("config")
SCALES = ("smoke", "laptop", "full")
SOURCES = ("auto", "torchvision", "registry", "folder")


class StudyError(ValueError):
    """A config file or a run name that the study does not know; the message says where and what is allowed."""


@dataclass(frozen=True)
class Row:
    """One line of a group's table: a label, the selector that ran it, and its run names, one a seed."""

    label: str
    method: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    key: str
    title: str
    slide: str
    dataset: str
    protocol: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Study:
    scale: str
    seeds: tuple[int, ...]
    groups: dict[str, Group]
    specs: dict[str, RunSpec] = field(repr=False)  # run name -> scaled spec

    def spec(self, name: str) -> RunSpec:
        """The spec of a run. Raises StudyError for an unknown name."""
        if name not in self.specs:
            close = [n for n in self.specs if n.split("_seed")[0] == name.split("_seed")[0]]
            hint = f"; this name has seeds {close}" if close else ""
            raise StudyError(f"run must be one of `robustfl runs --scale {self.scale}`; got {name!r}{hint}")
        return self.specs[name]

    def groups_of(self, name: str) -> list[Group]:
        return [g for g in self.groups.values() if any(name in row.names for row in g.rows)]

    def pretraining_name(self, name: str) -> str | None:
        """Name of the run whose finished model `name` selects from, where the study has it."""
        spec = self.spec(name)
        if not spec.pretrained:
            return None
        wanted = spec.pretraining().hash
        return next((n for n, s in self.specs.items() if s.hash == wanted), None)


def cuda_present() -> bool:
    """Whether the driver reports a CUDA device; asks libcuda itself, since importing torch takes a second."""
    try:
        cuda, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0)
        return cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except OSError:
        return False


def resolve_scale(scale: str) -> str:
    """`auto` -> full or smoke; other names are checked. Raises StudyError."""
    if scale == "auto":
        return "full" if cuda_present() else "smoke"
    if scale not in SCALES:
        raise StudyError(f"scale must be one of {', '.join(SCALES)}, auto; got {scale!r}")
    return scale


@lru_cache
def read_yaml(path: Path) -> dict:
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return yaml.load(path.read_text(), loader)
    except FileNotFoundError as error:
        raise StudyError(f"{path} must exist (run from the project's root); it does not") from error
    except yaml.YAMLError as error:
        raise StudyError(f"{path} must be YAML: {error}") from error


def typed(value):
    """A value from `snakemake --config` as YAML means it: snakemake hands on [0, 1] as ["0", "1"] and null as "null"."""
    if isinstance(value, dict):
        return {k: typed(v) for k, v in value.items()}
    if isinstance(value, list):
        return [typed(v) for v in value]
    plain = yaml.safe_load(value) if isinstance(value, str) else value
    return plain if plain is None or isinstance(plain, int) else value


def check_config(config: dict) -> dict:
    """The config itself, when every key and value is allowed; what the workflow's schema says, for calls without it.

    Raises StudyError naming key, rule and value.
    """

    def whole(value, least: int) -> bool:
        return type(value) is int and value >= least

    def names(value, good) -> bool:
        return isinstance(value, list) and len(value) > 0 and all(map(good, value)) and len(set(value)) == len(value)

    def text(value) -> bool:
        return isinstance(value, str) and value != ""

    def source(value) -> bool:
        known = isinstance(value, dict) and set(value) == {"source", "folder"} and value["source"] in SOURCES
        return known and (text(value["folder"]) or (value["folder"] is None and value["source"] != "folder"))

    rules = {
        "scale": (lambda v: v in (*SCALES, "auto"), f"one of {', '.join(SCALES)}, auto"),
        "seeds": (lambda v: v is None or names(v, lambda s: whole(s, 0)), "null or a non-empty list of different integers >= 0"),
        "groups": (lambda v: v is None or names(v, text), "null or a non-empty list of different group names"),
        "epochs": (lambda v: v is None or whole(v, 1), "null or an integer >= 1"),
        "precision": (lambda v: v in (None, "fp32", "bf16"), "null, fp32 or bf16"),
        "compiled": (lambda v: v is None or type(v) is bool, "null, true or false"),
        "device": (lambda v: v in ("auto", "cpu", "cuda"), "auto, cpu or cuda"),
        "results": (text, "a path"),
        "cache": (text, "a path"),
        "data": (source, f"a mapping of source ({', '.join(SOURCES)}) and folder (a path, which source folder needs)"),
    }
    for key in [*config, *rules]:
        if key not in rules or key not in config:
            raise StudyError(f"config must have exactly the keys {', '.join(rules)}; {key!r} is too many or missing")
        good, rule = rules[key]
        if not good(config[key]):
            raise StudyError(f"{key} must be {rule}; got {config[key]!r}")
    return config


def load(scale: str | None = None, config: dict | None = None, directory: Path | str = CONFIG_DIR) -> Study:
    """Build the study at one scale.

    scale: smoke | laptop | full | auto; None = the config's. config: values over config.yaml. Raises StudyError with
    the group and row of a bad entry.
    """
    directory = Path(directory)
    config = check_config(read_yaml(directory / "config.yaml") | (config or {}))
    scale = resolve_scale(scale or config["scale"])
    size = read_yaml(directory / "scales.yaml")[scale]
    experiments = read_yaml(directory / "experiments.yaml")
    seeds = tuple(config["seeds"] if config["seeds"] is not None else size["seeds"])
    wanted = list(experiments["groups"]) if config["groups"] is None else config["groups"]
    for key in wanted:
        if key not in experiments["groups"]:
            raise StudyError(f"groups must be among {', '.join(experiments['groups'])}; got {key!r}")
    specs: dict[str, RunSpec] = {}
    trained: dict[RunSpec, str] = {}
    groups = {
        key: _group(key, experiments["groups"][key], experiments["protocols"], seeds, size, config, specs, trained)
        for key in experiments["groups"] if key in wanted
    }  # fmt: skip
    return Study(scale, seeds, groups, specs)


def _group(key, entry, protocols, seeds, size, config, specs, trained) -> Group:
    rows = []
    for label, row in entry["rows"].items():
        methods = row.get("rules", () if "method" in row.get("set", {}) else entry.get("rules", ()))
        for method in methods or (None,):
            settings = entry.get("set", {}) | row.get("set", {}) | ({"method": method} if method else {})
            names = []
            for seed in seeds:
                try:
                    base = RunSpec.from_dict(protocols[entry["protocol"]] | {"dataset": entry["dataset"], "seed": seed})
                    spec = RunSpec.from_dict(base.asdict() | settings)
                    name = readable_name(entry["protocol"], base, spec)
                    scaled = scale_spec(spec, entry["protocol"], size, config)
                except (SpecError, TypeError, KeyError) as error:
                    raise StudyError(f"experiments.yaml: group {key}, row {label!r}: {error}") from error
                name = trained.setdefault(scaled, name)  # few epochs can make two settings one
                if specs.setdefault(name, scaled) != scaled:
                    raise StudyError(f"experiments.yaml: group {key}, row {label!r}: {name} names two different specs")
                names.append(name)
            rows.append(Row(label, scaled.method, tuple(names)))
    return Group(key, entry["title"], entry["slide"], entry["dataset"], entry["protocol"], tuple(rows))


def scale_spec(spec: RunSpec, protocol: str, size: dict, config: dict) -> RunSpec:
    """The spec at a scale: fewer images, a smaller model, fewer epochs, smaller batches. Milestones and warm-up shrink along
    with the epochs, the learning rate in proportion to the batch (Goyal et al. 2017)."""
    changes = {k: size[k] for k in ("sample", "subset", "test_subset", "model", "precision") if k in size}
    changes |= {k: config[k] for k in ("precision", "compiled") if config[k] is not None}
    if spec.holdout and "holdout" in size:  # a run that holds nothing out keeps everything
        changes["holdout"] = size["holdout"]
    batch = size.get("batch_size", {}).get(protocol)
    if batch:
        changes |= {"batch_size": batch, "lr": spec.lr * batch / spec.batch_size}
    epochs = config["epochs"] if config["epochs"] is not None else size.get("epochs", {}).get(protocol, spec.epochs)
    if epochs != spec.epochs:
        shrink = epochs / spec.epochs
        changes["epochs"] = epochs
        changes["milestones"] = tuple(sorted({max(1, round(m * shrink)) for m in spec.milestones}))
        changes["warmup"] = min(epochs - 1, max(1, round(spec.warmup * shrink))) if spec.warmup else 0
        changes["every"] = max(1, round(spec.every * shrink))
    return replace(spec, **changes)


def readable_name(protocol: str, base: RunSpec, spec: RunSpec) -> str:
    """Folder of a run: data set, protocol, then what differs from the protocol, then the seed."""
    parts = [spec.dataset, protocol]
    if spec.noise != "none":
        parts.append(f"{spec.noise}{spec.noise_rate:g}")
    parts.append(spec.method if spec.method == "full" else f"{spec.method}{spec.ratio:g}")
    if spec.weights != "uniform":
        unit = "median" if spec.radius_unit == "median" else ""
        parts.append(f"ball{spec.radius:g}{unit}" if spec.weights == "ball" else f"{spec.weights}-weights")
    told = {"dataset", "seed", "noise", "noise_rate", "method", "ratio", "weights", "radius", "radius_unit", "pretrained"}
    for f in fields(spec):
        value = getattr(spec, f.name)
        if f.name in told or value == getattr(base, f.name) or (f.name == "warmup" and spec.method == "full"):
            continue
        text = f"{value:g}" if isinstance(value, float) else str(value)
        if isinstance(value, tuple):
            text = "-".join("to".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in value) or "none"
        parts.append(text if isinstance(value, str) else f"{f.name.replace('_', '-')}{text}")
    return "_".join([*parts, f"seed{spec.seed}"])
