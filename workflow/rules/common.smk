# Shared by all rule files - the checked config, the study, and what is handed on to `robustfl`.
import os
import shlex
import sys
import time
from functools import lru_cache
from pathlib import Path

from snakemake.utils import validate

sys.path.insert(0, workflow.basedir)
from robustfl.evidence import claims, figures
from robustfl.execution import worker_client
from robustfl.execution.cli import spec_words as handed_on
from robustfl.execution.job_lines import JobLines
from robustfl.study import experiments as study
from robustfl.study import packed
from robustfl.study.cli import set_words

PLAIN = dict(study.read_yaml(study.CONFIG_DIR / "config.yaml"))
config.update({k: study.parse_override(v) for k, v in config.items() if v != PLAIN.get(k)})
config.update(study.check_config(config))
for part in ("experiments", "scales", "slides", "claims"):
    validate(study.read_yaml(study.CONFIG_DIR / f"{part}.yaml"), f"../schemas/{part}.schema.yaml")

STUDY = study.load(config=config)
claims.check(STUDY)
# a run with a packed record of the study's spec is done: its folder is neither made nor asked for
RUNS_OF = f"{config['results']}/{STUDY.scale}/runs"
FOLDERS = {f"{RUNS_OF}/{name}": spec for name, spec in STUDY.specs.items()}
FOUND = {folder: packed.find(folder, spec) for folder, spec in FOLDERS.items()}
PACKED = {folder: str(path) for folder, path in FOUND.items() if path}
RUNS = [PACKED.get(folder, f"{folder}/metrics.json") for folder in FOLDERS]
logger.info(
    f"robustfl: scale {STUDY.scale}, seeds {list(STUDY.seeds)}, {len(RUNS)} runs"
    + (f", {len(PACKED)} of them packed" if PACKED else "")
    + (" (scale auto: full needs a CUDA device)" if config["scale"] == "auto" else "")
)


# Words of the user are parameters made by functions: snakemake looks for names in the braces of a
# command and of a parameter that is text.
def study_words(wildcards):
    """The study that the command line asks for, for the calls that gather its records."""
    changed = {key: value for key, value in config.items() if value != PLAIN[key]}
    return shlex.join(["--scale", STUDY.scale, *set_words(changed)])


def data_words(wildcards):
    """Where data sets come from and go to."""
    folder = config["data"]["folder"]
    words = ["--cache", config["cache"], "--source", config["data"]["source"]]
    return shlex.join([*words, "--folder", folder] if folder else words)


@lru_cache
def study_at(scale):
    return STUDY if scale == STUDY.scale else study.load(scale, config)


def spec_words(wildcards):
    """The run's spec and where its data lies: `robustfl train` reads no YAML."""
    spec = study_at(wildcards.scale).spec(wildcards.name)
    return shlex.join(handed_on(spec, config))


def pretraining(wildcards):
    """The record of the run whose finished model this one selects from, unless it is packed."""
    known = study_at(wildcards.scale)
    name = known.pretraining_name(wildcards.name)
    if name is None:
        return []
    folder = f"{config['results']}/{wildcards.scale}/runs/{name}"
    return [] if packed.find(folder, known.spec(name)) else ancient(f"{folder}/metrics.json")


def in_report(path, category, caption, name):
    """A file with its place in snakemake's report; name: its stem, which says group and kind."""
    kind, key = figures.parts(STUDY, name)
    group = STUDY.groups.get(key)
    labels = {"of": group.title if group else "the study", "shows": kind}
    return report(path, caption=f"../report/{caption}.rst", category=category, labels=labels)
