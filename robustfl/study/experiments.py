"""The study: YAML files -> every run, once. Imports neither torch nor pandas, so that the DAG is built fast.

config/experiments.yaml holds protocols and groups, config/scales.yaml what a scale changes, config/config.yaml what a
user changes. A run that two groups share is one spec, hence one name and one training.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from itertools import product
from pathlib import Path

import yaml

from robustfl.study.run_spec import PRECISIONS, RunSpec, SpecError

CONFIG_DIR = Path("config")
SOURCES = ("auto", "torchvision", "registry", "folder")


class StudyError(ValueError):
    """A config file or a run name that the study does not know; the message says where and what is allowed."""


@dataclass(frozen=True)
class Row:
    """One line of a group's table: a label, the selector that ran it, and its run names, one a seed."""

    label: str
    method: str
    names: tuple[str, ...]
    shared_label: bool = False  # other rows of the group carry it too, under other selectors


@dataclass(frozen=True)
class Group:
    key: str
    title: str
    slide: str
    dataset: str
    protocol: str
    rows: tuple[Row, ...]
    figure: str = "curves"  # a key of robustfl.evidence.figures.slides.PLOTS
    text: str = "other"  # a key of robustfl.evidence.report.paragraphs.PARAGRAPHS
    cost: bool = False  # whether its rows stand in the table of costs


@dataclass(frozen=True)
class Scale:
    """One entry of scales.yaml: what it says of a study, beside the sizes that it gives to every run."""

    name: str
    statement: str  # what may be read out of its numbers; the report opens with it
    warn: bool = False  # whether the statement is a warning
    auto: str | None = None  # `scale: auto` means this one on such a device: cuda | cpu
    bears: tuple[str, ...] = ()  # what a claim may need, see `needs` in claims.yaml
    images: int = 0  # training images of a rung of the ladder; 0 for a scale that is none


@dataclass(frozen=True)
class Study:
    scale: str
    about: Scale
    seeds: tuple[int, ...]
    groups: dict[str, Group]
    specs: dict[str, RunSpec] = field(repr=False)  # run name -> scaled spec
    directory: Path = CONFIG_DIR  # of the YAML files it was built from

    def spec(self, name: str) -> RunSpec:
        """The spec of a run. Raises StudyError for an unknown name."""
        if name not in self.specs:
            close = [n for n in self.specs if n.split("_seed")[0] == name.split("_seed")[0]]
            hint = f"; this name has seeds {close}" if close else ""
            raise StudyError(
                f"run must be one of `robustfl runs --scale {self.scale}`; got {name!r}{hint}"
            )
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
        return (
            cuda.cuInit(0) == 0
            and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0
            and count.value > 0
        )
    except OSError:
        return False


def scales(directory: Path | str = CONFIG_DIR) -> dict[str, Scale]:
    """Every scale of scales.yaml, by name. Raises StudyError for an entry without a statement."""
    found = {}
    for name, entry in read_yaml(Path(directory) / "scales.yaml").items():
        told = {f.name: entry[f.name] for f in fields(Scale) if f.name in entry}
        if "statement" not in told:
            raise StudyError(f"scales.yaml: {name} must have a statement; it has none")
        told["bears"] = tuple(told.get("bears", ()))
        found[name] = Scale(name, **told)
    return found


def resolve_scale(scale: str, directory: Path | str = CONFIG_DIR) -> str:
    """`auto` -> the scale that scales.yaml names for this device; other names are checked. Raises StudyError."""
    known = scales(directory)
    if scale == "auto":
        device = "cuda" if cuda_present() else "cpu"
        return next(s.name for s in known.values() if s.auto == device)
    if scale not in known:
        raise StudyError(f"scale must be one of {', '.join(known)}, auto; got {scale!r}")
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


def parse_override(value):
    """A value from `snakemake --config` as YAML means it: snakemake hands on [0, 1] as ["0", "1"] and null as "null"."""
    if isinstance(value, dict):
        return {k: parse_override(v) for k, v in value.items()}
    if isinstance(value, list):
        return [parse_override(v) for v in value]
    plain = yaml.safe_load(value) if isinstance(value, str) else value
    return plain if plain is None or isinstance(plain, int) else value


def check_config(config: dict) -> dict:
    """The config itself, when every key and value is allowed; what the workflow's schema says, for calls without it.

    Raises StudyError naming key, rule and value.
    """

    def whole(value, least: int) -> bool:
        return type(value) is int and value >= least

    def names(value, good) -> bool:
        return (
            isinstance(value, list)
            and len(value) > 0
            and all(map(good, value))
            and len(set(value)) == len(value)
        )

    def text(value) -> bool:
        return isinstance(value, str) and value != ""

    def source(value) -> bool:
        known = (
            isinstance(value, dict)
            and set(value) == {"source", "folder"}
            and value["source"] in SOURCES
        )
        return known and (
            text(value["folder"]) or (value["folder"] is None and value["source"] != "folder")
        )

    rules = {
        "scale": (text, "the name of a scale, or auto"),
        "seeds": (
            lambda v: v is None or names(v, lambda s: whole(s, 0)),
            "null or a non-empty list of different integers >= 0",
        ),
        "groups": (
            lambda v: v is None or names(v, text),
            "null or a non-empty list of different group names",
        ),
        "epochs": (lambda v: v is None or whole(v, 1), "null or an integer >= 1"),
        "precision": (lambda v: v in (None, *PRECISIONS), f"null, {', '.join(PRECISIONS)}"),
        "compiled": (lambda v: v is None or type(v) is bool, "null, true or false"),
        "device": (lambda v: v in ("auto", "cpu", "cuda"), "auto, cpu or cuda"),
        "results": (text, "a path"),
        "cache": (text, "a path"),
        "data": (
            source,
            f"a mapping of source ({', '.join(SOURCES)}) and folder (a path, which source folder needs)",
        ),
    }
    for key in [*config, *rules]:
        if key not in rules or key not in config:
            raise StudyError(
                f"config must have exactly the keys {', '.join(rules)}; {key!r} is too many or missing"
            )
        good, rule = rules[key]
        if not good(config[key]):
            raise StudyError(f"{key} must be {rule}; got {config[key]!r}")
    return config


def load(
    scale: str | None = None, config: dict | None = None, directory: Path | str = CONFIG_DIR
) -> Study:
    """Build the study at one scale.

    scale: a name of scales.yaml, or auto; None = the config's. config: values over config.yaml. directory: of the
    YAML files. Raises StudyError with the group and row of a bad entry.
    """
    directory = Path(directory)
    config = check_config(read_yaml(directory / "config.yaml") | (config or {}))
    scale = resolve_scale(scale or config["scale"], directory)
    size = read_yaml(directory / "scales.yaml")[scale]
    experiments = read_yaml(directory / "experiments.yaml")
    seeds = tuple(config["seeds"] if config["seeds"] is not None else size["seeds"])

    # the user's groups, else the scale's own, else all that the scale does not leave out
    for where, keys in (
        ("groups", config["groups"] or ()),
        (f"scales.yaml: groups of {scale}", size.get("groups", ())),
        (f"scales.yaml: leave_out of {scale}", size.get("leave_out", ())),
    ):
        for key in keys:
            if key not in experiments["groups"]:
                raise StudyError(
                    f"{where} must be among {', '.join(experiments['groups'])}; got {key!r}"
                )
    wanted = config["groups"]
    if wanted is None:
        wanted = size.get(
            "groups", [k for k in experiments["groups"] if k not in size.get("leave_out", ())]
        )

    specs: dict[str, RunSpec] = {}
    trained: dict[RunSpec, str] = {}
    groups = {
        key: _group(key, entry, experiments["protocols"], seeds, size, config, specs, trained)
        for key, entry in experiments["groups"].items()
        if key in wanted
    }
    return Study(scale, scales(directory)[scale], seeds, groups, specs, directory)


SNAPSHOT = (
    "experiments",
    "scales",
    "claims",
    "slides",
)  # YAML files that a study's tables follow from, as they are


def snapshot(known: Study, config: dict) -> dict[str, str]:
    """The YAML files that say all of a study, by name: what `load` needs to build the same one again.

    config.yaml is the study's own with its scale, seeds, groups and whatever else changes a run written out.
    """
    texts = {f"{part}.yaml": (known.directory / f"{part}.yaml").read_text() for part in SNAPSHOT}
    plain = read_yaml(known.directory / "config.yaml")
    fixed = {key: config[key] for key in ("epochs", "precision", "compiled") if key in config}
    fixed |= {"scale": known.scale, "seeds": list(known.seeds), "groups": list(known.groups)}
    texts["config.yaml"] = yaml.safe_dump(plain | fixed, sort_keys=False, width=110)
    return texts


def rows_of(entry: dict) -> dict[str, dict]:
    """label -> row of a group's entry: its `rows`, and one for each combination of its `grid`.

    A grid is a list of mappings label -> settings; a combination takes one of each, joins the labels with commas
    and the settings into one.
    """
    rows = dict(entry.get("rows", {}))
    if "grid" in entry:
        for combination in product(*(axis.items() for axis in entry["grid"])):
            settings = {key: value for _, part in combination for key, value in part.items()}
            rows[", ".join(label for label, _ in combination)] = {"set": settings}
    return rows


def _group(key, entry, protocols, seeds, size, config, specs, trained) -> Group:
    rows, protocol = [], entry["protocol"]
    for label, row in rows_of(entry).items():
        methods = row.get("rules", () if "method" in row.get("set", {}) else entry.get("rules", ()))
        for method in methods or (None,):
            settings = (
                entry.get("set", {}) | row.get("set", {}) | ({"method": method} if method else {})
            )
            names = []
            for seed in seeds:
                try:
                    plain = {k: v for k, v in protocols[protocol].items() if k != "open"}
                    base = RunSpec.from_dict(plain | {"dataset": entry["dataset"], "seed": seed})
                    spec = RunSpec.from_dict(base.asdict() | settings)
                    name = readable_name(protocol, base, spec)
                    scaled = scale_spec(spec, base, protocol, size, config)
                except (SpecError, TypeError, KeyError) as error:
                    raise StudyError(
                        f"experiments.yaml: group {key}, row {label!r}: {error}"
                    ) from error
                name = trained.setdefault(scaled, name)  # few epochs can make two settings one
                if specs.setdefault(name, scaled) != scaled:
                    raise StudyError(
                        f"experiments.yaml: group {key}, row {label!r}: {name} names two different specs"
                    )
                names.append(name)
            rows.append(Row(label, scaled.method, tuple(names), len(methods) > 1))
    shown = {name: entry[name] for name in ("figure", "text", "cost") if name in entry}
    titles = (entry["title"], entry["slide"], entry["dataset"])
    return Group(key, *titles, protocol, tuple(rows), **shown)


SIZES = (
    "sample",
    "subset",
    "test_subset",
    "test_every",
    "model",
    "precision",
)  # of a scale, taken over as they are


def scale_spec(spec: RunSpec, base: RunSpec, protocol: str, size: dict, config: dict) -> RunSpec:
    """The spec at a scale: fewer images, a smaller model, fewer epochs, smaller batches.

    Epochs shrink in proportion to those of the protocol (`base`), milestones, warm-up and the epochs between
    selections along with them, the learning rate in proportion to the batch (Goyal et al. 2017).
    """
    changes = {k: size[k] for k in SIZES if k in size}
    changes |= {k: config[k] for k in ("precision", "compiled") if config[k] is not None}
    if spec.holdout and "holdout" in size:  # a run that holds nothing out keeps everything
        changes["holdout"] = size["holdout"]
    batch = size.get("batch_size", {}).get(protocol)
    if batch:
        changes |= {"batch_size": batch, "lr": spec.lr * batch / spec.batch_size}

    whole = (
        config["epochs"] if config["epochs"] is not None else size.get("epochs", {}).get(protocol)
    )
    if whole is not None and whole != base.epochs:
        epochs = max(1, round(spec.epochs * whole / base.epochs))
        shrink = epochs / spec.epochs
        changes["epochs"] = epochs
        changes["milestones"] = tuple(sorted({max(1, round(m * shrink)) for m in spec.milestones}))
        changes["warmup"] = (
            min(epochs - 1, max(1, round(spec.warmup * shrink))) if spec.warmup else 0
        )
        changes["every"] = max(1, round(spec.every * shrink))
    return replace(spec, **changes)


@dataclass(frozen=True)
class Open:
    """A setting that the slides leave open: where it stands, what was chosen, and why."""

    where: str
    setting: str
    reason: str


def open_settings(directory: Path | str = CONFIG_DIR) -> list[Open]:
    """Every `open:` of experiments.yaml, protocols first. Raises StudyError for one about a setting that is not there."""
    experiments = read_yaml(Path(directory) / "experiments.yaml")
    found = []

    def add(where: str, settings: dict, reasons: dict) -> None:
        for name, reason in reasons.items():
            if name in settings:
                found.append(Open(where, f"{name} {settings[name]}", reason))
            elif hasattr(RunSpec, name):
                found.append(Open(where, f"{name} {getattr(RunSpec, name)}", reason))
            else:
                raise StudyError(
                    f"experiments.yaml: {where}: open must name fields of a run; got {name!r}"
                )

    for name, protocol in experiments["protocols"].items():
        add(f"{name} protocol", protocol, protocol.get("open", {}))
    for name, group in experiments["groups"].items():
        add(name, group.get("set", {}), group.get("open", {}))
        for label, row in rows_of(group).items():
            add(f"{name}, {label}", row.get("set", {}), row.get("open", {}))
    return found


def readable_name(protocol: str, base: RunSpec, spec: RunSpec) -> str:
    """Folder of a run: data set, protocol, then what differs from the protocol, then the seed."""
    parts = [spec.dataset, protocol]
    if spec.noise != "none":
        parts.append(f"{spec.noise}{spec.noise_rate:g}")
    parts.append(spec.method if spec.method == "full" else f"{spec.method}{spec.ratio:g}")
    if spec.weights != "uniform":
        unit = "median" if spec.radius_unit == "median" else ""
        parts.append(
            f"ball{spec.radius:g}{unit}" if spec.weights == "ball" else f"{spec.weights}-weights"
        )
    if spec.pretrained and not _always_pretrained(spec):
        parts.append("pretrained")
    told = {
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
    for f in fields(spec):
        value = getattr(spec, f.name)
        if (
            f.name in told
            or value == getattr(base, f.name)
            or (f.name == "warmup" and spec.method == "full")
        ):
            continue
        text = f"{value:g}" if isinstance(value, float) else str(value)
        if isinstance(value, tuple):
            text = (
                "-".join("to".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in value)
                or "none"
            )
        parts.append(text if isinstance(value, str) else f"{f.name.replace('_', '-')}{text}")
    return "_".join([*parts, f"seed{spec.seed}"])


def _always_pretrained(spec: RunSpec) -> bool:
    """Ways to select or train that have no other points than those of a finished model: their names need not say so."""
    return spec.method == "set_cover" or spec.space == "forgetting" or spec.steps == "raw_clusters"
