# Shared by all rule files - the checked config, the study, and the command-line overrides handed on to `robustfl`.
import json
import shlex
import sys
from functools import lru_cache

from snakemake.utils import validate

sys.path.insert(0, workflow.basedir)
from robustfl.evidence import claims
from robustfl.study import experiments as study
from robustfl.study import packed

PLAIN = dict(study.read_yaml(study.CONFIG_DIR / "config.yaml"))
config.update({k: study.typed(v) for k, v in config.items() if v != PLAIN.get(k)})
validate(config, "../schemas/config.schema.yaml")
for part in ("experiments", "scales", "slides", "claims"):
    validate(study.read_yaml(study.CONFIG_DIR / f"{part}.yaml"), f"../schemas/{part}.schema.yaml")

STUDY = study.load(config=config)
claims.check(STUDY)
# a run with a packed record of the study's spec is done: its folder is neither made nor asked for
FOLDERS = {f"{config['results']}/{STUDY.scale}/runs/{name}": spec for name, spec in STUDY.specs.items()}
PACKED = {folder: str(path) for folder, spec in FOLDERS.items() if (path := packed.find(folder, spec))}
RUNS = [PACKED.get(folder, f"{folder}/metrics.json") for folder in FOLDERS]
# what the command line changed, handed on to every `robustfl` call
OVERRIDES = shlex.join(w for k, v in config.items() if v != PLAIN[k] for w in ("--set", f"{k}={json.dumps(v)}"))
logger.info(f"robustfl: scale {STUDY.scale}, seeds {list(STUDY.seeds)}, {len(RUNS)} runs"
            + (f", {len(PACKED)} of them packed" if PACKED else "")
            + (" (scale auto: full needs a CUDA device)" if config["scale"] == "auto" else ""))


@lru_cache
def study_at(scale):
    return STUDY if scale == STUDY.scale else study.load(scale, config)


def pretraining(wildcards):
    known = study_at(wildcards.scale)
    name = known.pretraining_name(wildcards.name)
    folder = f"{config['results']}/{wildcards.scale}/runs/{name}"
    return ancient(f"{folder}/metrics.json") if name and not packed.find(folder, known.spec(name)) else []
