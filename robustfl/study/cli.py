"""`robustfl runs`, `show` and `records`, and the options by which every command finds its study."""

from __future__ import annotations

import argparse
from pathlib import Path

from robustfl.study import experiments, record_list
from robustfl.study.config import parse_yaml_value, yaml_text
from robustfl.study.experiments import Study, StudyError
from robustfl.study.show import run_text


def add_scale(parser: argparse.ArgumentParser) -> None:
    """Add --scale, which `study_of` reads."""
    parser.add_argument(
        "--scale", metavar="SCALE", help="a key of scales.yaml, or auto (default: the config's)"
    )


def add_set(parser: argparse.ArgumentParser) -> None:
    """Add --set, which `config_of` reads."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of config/config.yaml",
    )


def config_of(args: argparse.Namespace) -> dict:
    """config.yaml with --set applied. Raises StudyError for an unknown key or a bad value."""
    plain = experiments.read_yaml(_directory(args) / "config.yaml")
    return experiments.check_config(override(plain, args.set))


def override(config: dict, items: list[str]) -> dict:
    """A copy of the config with KEY=VALUE items applied, values read as YAML.

    A mapping changes only the keys that it names. Raises StudyError for a key that the config does
    not have and for a value that is no YAML.
    """
    config = dict(config)
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or key not in config:
            keys = ", ".join(config)
            raise StudyError(
                f"--set must be KEY=VALUE with a key of config.yaml ({keys}); got {item!r}"
            )

        # YAML, as in the file: `true`, `0.1` and `[0, 1]` mean what they mean there
        try:
            value = parse_yaml_value(text)
        except StudyError as error:
            raise StudyError(f"--set {key} must be a YAML value; got {text!r}") from error

        both_mappings = isinstance(value, dict) and isinstance(config[key], dict)
        config[key] = config[key] | value if both_mappings else value
    return config


def set_words(config: dict) -> list[str]:
    """The options --set that give these keys these values, whatever stands in them.

    >>> set_words({"seeds": [0, 1], "cache": "a: b"})
    ['--set', 'seeds=[0, 1]', '--set', 'cache="a: b"']
    """
    items = (f"{key}={yaml_text(value)}" for key, value in config.items())
    return [word for item in items for word in ("--set", item)]


def study_of(args: argparse.Namespace) -> tuple[Study, dict]:
    """The study and config that --scale, --set and --study ask for. Raises StudyError."""
    config = config_of(args)
    return experiments.load(args.scale, config, _directory(args)), config


def _directory(args: argparse.Namespace) -> Path:
    """Where the YAML files lie: `report` alone has an option for it."""
    return Path(getattr(args, "study", None) or experiments.CONFIG_DIR)


def add_runs_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `robustfl runs`."""
    parser.add_argument("--group", help="only this group of experiments")
    add_scale(parser)
    add_set(parser)


def runs(args: argparse.Namespace) -> int:
    """Print the names of the study's runs, each once. Returns 0; raises StudyError."""
    study, _ = study_of(args)
    if args.group is not None and args.group not in study.groups:
        raise StudyError(f"--group must be one of {', '.join(study.groups)}; got {args.group!r}")
    groups = [study.groups[args.group]] if args.group else list(study.groups.values())

    # two groups may share a run
    for name in dict.fromkeys(name for group in groups for row in group.rows for name in row.names):
        print(name)
    return 0


def add_show_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `robustfl show`."""
    parser.add_argument("name")
    add_scale(parser)
    add_set(parser)


def show(args: argparse.Namespace) -> int:
    """Print a run's spec, hash and slides as YAML. Returns 0; raises StudyError."""
    study, _ = study_of(args)
    print(run_text(study, args.name), end="")
    return 0


def add_records_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions of `robustfl records` and their options."""
    for action in record_list.add_arguments(parser):
        add_set(action)


def records(args: argparse.Namespace) -> int:
    """Pack, unpack or list records, see `record_list.main`."""
    return record_list.main(args, config_of(args))
