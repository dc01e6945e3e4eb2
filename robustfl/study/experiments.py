"""The study: YAML files to every run, once. Imports neither torch nor pandas, to be fast.

config/experiments.yaml holds protocols and groups. A run that two groups share is one spec, hence
one name and one training. Everything that a run names is checked here, before anything runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import yaml

from robustfl.data import DATASETS
from robustfl.selection import SELECTORS
from robustfl.study.config import (
    CONFIG_DIR,
    Scale,
    StudyError,
    check_config,
    cuda_present,
    parse_override,
    read_yaml,
    resolve_scale,
    scales,
)
from robustfl.study.run_names import readable_name
from robustfl.study.run_spec import MODELS, RunSpec, SpecError
from robustfl.study.scaling import scale_spec

__all__ = [  # with what other rooms read of the config through this module
    "CONFIG_DIR",
    "Group",
    "Open",
    "Row",
    "Scale",
    "Study",
    "StudyError",
    "check_config",
    "cuda_present",
    "load",
    "open_settings",
    "parse_override",
    "read_yaml",
    "readable_name",
    "resolve_scale",
    "restricted",
    "rows_of",
    "scales",
    "snapshot",
]

# Fields of a run that are not an experiment's: the group, the seeds, the scale, config.yaml.
SET_ELSEWHERE = (
    "dataset",
    "seed",
    "use_sample",
    "train_size",
    "test_size",
    "test_interval",
    "torch_compile",
)


@dataclass(frozen=True)
class Row:
    """One line of a group's table: a label, the selector that ran it, a run name per seed."""

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
class Study:
    scale: str
    scale_entry: Scale
    seeds: tuple[int, ...]
    groups: dict[str, Group]
    specs: dict[str, RunSpec] = field(repr=False)  # run name -> scaled spec
    directory: Path = CONFIG_DIR  # of the YAML files it was built from

    def spec(self, name: str) -> RunSpec:
        """The spec of a run. Raises StudyError for an unknown name."""
        if name not in self.specs:
            # the seed is what most often is not there
            close = [n for n in self.specs if n.split("-seed")[0] == name.split("-seed")[0]]
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


def load(
    scale: str | None = None, config: dict | None = None, directory: Path | str = CONFIG_DIR
) -> Study:
    """Build the study at one scale.

    scale: a name of scales.yaml, or auto; None = the config's. config: values over config.yaml.
    directory: of the YAML files. Raises StudyError with the group and row of a bad entry.
    """
    directory = Path(directory)
    config = check_config(read_yaml(directory / "config.yaml") | (config or {}))
    scale = resolve_scale(config["scale"] if scale is None else scale, directory)
    size = read_yaml(directory / "scales.yaml")[scale]
    experiments = read_yaml(directory / "experiments.yaml")
    seeds = tuple(config["seeds"] if config["seeds"] is not None else size["seeds"])

    # each row under each of its selectors, once per seed
    specs: dict[str, RunSpec] = {}
    trained: dict[RunSpec, str] = {}
    groups = {}
    for key in _wanted(list(experiments["groups"]), scale, size, config):
        entry = experiments["groups"][key]
        rows = []
        variants = list(_variants(entry))
        times = Counter(label for label, _ in variants)
        for label, settings in variants:
            try:
                runs = [
                    _run(entry, settings, experiments["protocols"], seed, size, config)
                    for seed in seeds
                ]
                names = tuple(_enter(name, spec, specs, trained) for name, spec in runs)
            except (SpecError, TypeError, KeyError) as error:
                raise StudyError(
                    f"experiments.yaml: group {key}, row {label!r}: {error}"
                ) from error
            rows.append(Row(label, runs[0][1].method, names, times[label] > 1))
        shown = {name: entry[name] for name in ("figure", "text", "cost") if name in entry}
        titles = (entry["title"], entry["slide"], entry["dataset"], entry["protocol"])
        groups[key] = Group(key, *titles, tuple(rows), **shown)
    return Study(scale, scales(directory)[scale], seeds, groups, specs, directory)


def restricted(study: Study, names: Collection[str]) -> Study:
    """The study as far as it has these runs: rows and groups without any of them are left out."""
    groups = {}
    for key, group in study.groups.items():
        rows = [
            replace(row, names=tuple(name for name in row.names if name in names))
            for row in group.rows
        ]
        kept = tuple(row for row in rows if row.names)
        if kept:
            groups[key] = replace(group, rows=kept)
    specs = {name: spec for name, spec in study.specs.items() if name in names}
    seeds = tuple(seed for seed in study.seeds if any(s.seed == seed for s in specs.values()))
    return replace(study, groups=groups, specs=specs, seeds=seeds)


def _wanted(groups: list[str], scale: str, size: dict, config: dict) -> list[str]:
    """The user's groups, else the scale's own, else all that the scale does not leave out.

    In the order of the file. Raises StudyError for a group that experiments.yaml does not have.
    """
    left_out = size.get("leave_out", ())
    for where, keys in (
        ("groups", config["groups"] or ()),
        (f"scales.yaml: groups of {scale}", size.get("groups", ())),
        (f"scales.yaml: leave_out of {scale}", left_out),
    ):
        for key in keys:
            if key not in groups:
                raise StudyError(f"{where} must be among {', '.join(groups)}; got {key!r}")

    # every key names a group: now the first list there is
    wanted = config["groups"]
    if wanted is None:
        wanted = size.get("groups", [key for key in groups if key not in left_out])
    return [key for key in groups if key in wanted]


def rows_of(entry: dict) -> dict[str, dict]:
    """label -> row of a group's entry: its `rows`, and one for each combination of its `grid`.

    A grid is a list of mappings label -> settings; a combination takes one of each, joins the
    labels with commas and the settings into one.
    """
    rows = dict(entry.get("rows", {}))
    if "grid" in entry:
        for combination in product(*(axis.items() for axis in entry["grid"])):
            settings = {key: value for _, part in combination for key, value in part.items()}
            rows[", ".join(label for label, _ in combination)] = {"set": settings}
    return rows


def _variants(entry: dict) -> Iterator[tuple[str, dict]]:
    """(label, settings) of each line of a group's table: a row once under each of its selectors."""
    for label, row in rows_of(entry).items():
        row_settings = row.get("set", {})
        rules = row.get("rules", () if "method" in row_settings else entry.get("rules", ()))
        for method in rules or (None,):
            selector = {} if method is None else {"method": method}
            yield label, entry.get("set", {}) | row_settings | selector


def _run(
    entry: dict, settings: dict, protocols: dict, seed: int, size: dict, config: dict
) -> tuple[str, RunSpec]:
    """The name of a run and its spec at the scale.

    Raises SpecError for a setting that is no field, a value that breaks its rule, or an unknown
    name.
    """
    if entry["protocol"] not in protocols:
        raise SpecError(
            f"protocol must be one of {', '.join(protocols)}; got {entry['protocol']!r}"
        )
    protocol = {k: v for k, v in protocols[entry["protocol"]].items() if k != "open"}
    if misplaced := sorted({*protocol, *settings} & set(SET_ELSEWHERE)):
        raise SpecError(f"set must not hold what the group, scale or config gives; got {misplaced}")

    # the protocol alone is a spec too: names and sizes are relative to it
    base = RunSpec.from_dict(protocol | {"dataset": entry["dataset"], "seed": seed})
    spec = RunSpec.from_dict(base.asdict() | settings)
    scaled = scale_spec(spec, base, entry["protocol"], size, config)
    # RunSpec knows the choices of its fields, but not the registries
    for name, registry in (("dataset", DATASETS), ("method", SELECTORS), ("model", MODELS)):
        for value in (getattr(spec, name), getattr(scaled, name)):  # a scale may give another model
            if value not in registry:
                raise SpecError(f"{name} must be one of {', '.join(registry)}; got {value!r}")
    return readable_name(entry["protocol"], base, spec), scaled


def _enter(name: str, spec: RunSpec, specs: dict, trained: dict) -> str:
    """Enter a run into the study, unless its spec is there already; returns the name it has there.

    With few epochs two settings can become the same spec. Raises SpecError for a name that another
    spec has.
    """
    name = trained.setdefault(spec, name)
    if specs.setdefault(name, spec) != spec:
        raise SpecError(f"{name} names two different specs")
    return name


# YAML files that a study's tables follow from, as they are.
SNAPSHOT = ("experiments", "scales", "claims", "slides")


def snapshot(study: Study, config: dict) -> dict[str, str]:
    """The YAML files that say all of a study, by name: what `load` needs to build it again.

    config.yaml is the study's own with its scale, seeds, groups and whatever else changes a run
    written out.
    """
    texts = {
        f"{part}.yaml": (study.directory / f"{part}.yaml").read_text(encoding="utf-8")
        for part in SNAPSHOT
    }
    # written out, so that another default of config.yaml makes no other study of them
    plain = read_yaml(study.directory / "config.yaml")
    fixed = {key: config[key] for key in ("epochs", "precision", "torch_compile") if key in config}
    fixed |= {"scale": study.scale, "seeds": list(study.seeds), "groups": list(study.groups)}
    texts["config.yaml"] = yaml.safe_dump(plain | fixed, sort_keys=False, width=110)
    return texts


@dataclass(frozen=True)
class Open:
    """A setting that the slides leave open: where it stands, what was chosen, and why."""

    where: str
    setting: str
    reason: str


def open_settings(directory: Path | str = CONFIG_DIR) -> list[Open]:
    """Every `open:` of experiments.yaml, protocols first.

    Raises StudyError for one about a setting that no run has.
    """
    experiments = read_yaml(Path(directory) / "experiments.yaml")
    settings_left_open = []

    def add(where: str, settings: dict, reasons: dict) -> None:
        for name, reason in reasons.items():
            if name not in settings and not hasattr(RunSpec, name):
                raise StudyError(
                    f"experiments.yaml: {where}: open must name fields of a run; got {name!r}"
                )
            value = settings[name] if name in settings else getattr(RunSpec, name)
            settings_left_open.append(Open(where, f"{name} {value}", reason))

    for name, protocol in experiments["protocols"].items():
        add(f"{name} protocol", protocol, protocol.get("open", {}))
    for name, group in experiments["groups"].items():
        add(name, group.get("set", {}), group.get("open", {}))
        for label, row in rows_of(group).items():
            add(f"{name}, {label}", row.get("set", {}), row.get("open", {}))
    return settings_left_open
