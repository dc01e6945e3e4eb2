"""The YAML files of a study, and the two that say how large it is: config.yaml and scales.yaml.

config/config.yaml holds what a user changes, config/scales.yaml what a scale changes.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from robustfl.data import FETCHABLE
from robustfl.files import PathError, user_path
from robustfl.study.run_spec import PRECISIONS

CONFIG_DIR = Path("config")
DEVICES = ("auto", "cpu", "cuda")


class StudyError(ValueError):
    """A config file or a run name that the study does not know.

    The message says where, and what is allowed.
    """


def read_yaml(path: Path) -> dict:
    """The content of a YAML file, parsed again when the file has changed.

    Callers share one value, and must not change it. Raises StudyError where the file is absent or
    no YAML.
    """
    try:
        status = path.stat()
        return _parse_yaml(path.resolve(), status.st_ino, status.st_mtime_ns, status.st_size)
    except FileNotFoundError as error:
        raise StudyError(f"{path} must exist (run from the project's root); it does not") from error


@lru_cache
def _parse_yaml(path: Path, *version: int) -> dict:
    try:
        # libyaml's loader is the faster one, where PyYAML was built with it
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return yaml.load(path.read_bytes(), loader)  # UTF-8, whatever the locale
    except yaml.YAMLError as error:
        raise StudyError(f"{path} must be YAML: {error}") from error


def parse_override(value: Any) -> Any:
    """A value from `snakemake --config` as YAML means it.

    snakemake hands on [0, 1] as ["0", "1"] and null as "null".
    """
    if isinstance(value, dict):
        return {k: parse_override(v) for k, v in value.items()}
    if isinstance(value, list):
        return [parse_override(v) for v in value]
    # a text stays one unless YAML reads null, an integer or a boolean in it
    if not isinstance(value, str):
        return value
    try:
        plain = parse_yaml_value(value)
    except StudyError:
        return value
    return plain if plain is None or isinstance(plain, int) else value


def parse_yaml_value(text: str) -> Any:
    """The value of a YAML text. Raises StudyError where it is none."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, AttributeError, LookupError, RecursionError, ValueError) as error:
        # the last ones come from PyYAML for tags that do not fit (`!!bool x`), a thirteenth month
        # and endless brackets
        raise StudyError(f"value must be YAML; got {text!r}") from error


def yaml_text(value: Any) -> str:
    """A value as one line of YAML, which `parse_yaml_value` reads again.

    Not JSON: YAML takes its two halves of a character beyond U+FFFF for two characters.
    """
    if isinstance(value, str):
        return yaml.safe_dump(value, default_style='"', width=math.inf).rstrip("\n")
    if isinstance(value, dict):
        return f"{{{', '.join(f'{yaml_text(k)}: {yaml_text(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(yaml_text, value))}]"
    # YAML's own writer: JSON's 1e-30 is a text to it
    return yaml.safe_dump(value, width=math.inf).splitlines()[0]


@dataclass(frozen=True)
class Scale:
    """One entry of scales.yaml: what it says of a study, beside the sizes it gives to each run."""

    name: str
    statement: str  # what may be read out of its numbers; the report opens with it
    warn: bool = False  # whether the statement is a warning
    auto: str | None = None  # `scale: auto` means this one on such a device: cuda | cpu
    images: int = 0  # training images of a rung of the ladder; 0 for a scale that is none


def scales(directory: Path | str = CONFIG_DIR) -> dict[str, Scale]:
    """Every scale of scales.yaml, by name. Raises StudyError for an entry without a statement."""
    by_name = {}
    for name, entry in read_yaml(Path(directory) / "scales.yaml").items():
        settings = {f.name: entry[f.name] for f in fields(Scale) if f.name in entry}
        if "statement" not in settings:
            raise StudyError(f"scales.yaml: {name} must have a statement; it has none")
        by_name[name] = Scale(name, **settings)
    return by_name


def resolve_scale(scale: str, directory: Path | str = CONFIG_DIR) -> str:
    """The name of a scale; `auto` is the one that scales.yaml names for this device.

    Raises StudyError for a name that scales.yaml does not have.
    """
    by_name = scales(directory)
    if scale == "auto":
        device = "cuda" if cuda_present() else "cpu"
        return next(s.name for s in by_name.values() if s.auto == device)
    if scale not in by_name:
        raise StudyError(f"scale must be one of {', '.join(by_name)}, auto; got {scale!r}")
    return scale


def cuda_present() -> bool:
    """Whether the driver reports a CUDA device; asks libcuda, since importing torch is slow."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    started = cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0
    return started and count.value > 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_path(value: Any) -> bool:
    # the workflow's rules are patterns of such paths, in which braces hold a name; typst, which
    # lays the report out, takes no backslash
    unfit = set("{}\\\x7f") | set(map(chr, range(32)))
    return _is_text(value) and not set(value) & unfit


def _is_integer(value: Any, least: int) -> bool:
    # not isinstance: True is an int to Python, and no number of epochs
    return type(value) is int and value >= least


def _is_seed(value: Any) -> bool:
    return _is_integer(value, 0)


def _are_different(value: Any, allowed: Callable[[Any], bool]) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(map(allowed, value))
        and len(set(value)) == len(value)
    )


def _is_data(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"source", "folder"}:
        return False
    # auto tries a folder last, and does without one
    folder_given = _is_text(value["folder"])
    folder_spared = value["folder"] is None and value["source"] != "folder"
    return value["source"] in FETCHABLE and (folder_given or folder_spared)


PATH = "a path without braces, backslashes and control characters"

# Each key of config.yaml: whether it takes a value, and the rule in words.
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "scale": (_is_text, "the name of a scale, or auto"),
    "seeds": (
        lambda v: v is None or _are_different(v, _is_seed),
        "null or a non-empty list of different integers >= 0",
    ),
    "groups": (
        lambda v: v is None or _are_different(v, _is_text),
        "null or a non-empty list of different group names",
    ),
    "epochs": (lambda v: v is None or _is_integer(v, 1), "null or an integer >= 1"),
    "precision": (lambda v: v in (None, *PRECISIONS), f"null, {', '.join(PRECISIONS)}"),
    "torch_compile": (lambda v: v is None or type(v) is bool, "null, true or false"),
    "device": (lambda v: v in DEVICES, "auto, cpu or cuda"),
    "results": (_is_path, PATH),
    "cache": (_is_path, PATH),
    "data": (
        _is_data,
        f"a mapping of source ({', '.join(FETCHABLE)}) and folder (a path, which source folder"
        " needs)",
    ),
}


def check_config(config: dict) -> dict:
    """The config, when every key and value is allowed, with home folders for a leading `~`.

    The workflow and every command use paths as they are returned here. Raises StudyError naming
    key, rule and value.
    """
    # the config's own keys first, so that a typo is named rather than what it stood for
    for key in [*config, *RULES]:
        if key not in RULES or key not in config:
            raise StudyError(
                f"config must have exactly the keys {', '.join(RULES)};"
                f" {key!r} is too many or missing"
            )
        allowed, rule = RULES[key]
        if not allowed(config[key]):
            raise StudyError(f"{key} must be {rule}; got {config[key]!r}")

    paths = {key: _at_home(key, config[key]) for key in ("results", "cache")}
    folder = config["data"]["folder"] and _at_home("data.folder", config["data"]["folder"])
    return config | paths | {"data": config["data"] | {"folder": folder}}


def _at_home(key: str, path: str) -> str:
    try:
        return user_path(path)
    except PathError as error:
        raise StudyError(f"{key}: {error}") from error
