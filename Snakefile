# The whole study: snakemake --cores 4 report/summary.pdf        (the plan alone: snakemake -n)
# One run:         snakemake --cores 1 results/full/runs/NAME/metrics.json        (names: robustfl runs --scale full)
import json
import shlex
import sys

from snakemake.utils import min_version, validate

min_version("9.0")
sys.path.insert(0, workflow.basedir)
from robustfl import study

PLAIN = dict(study.read_yaml(study.CONFIG_DIR / "config.yaml"))
configfile: "config/config.yaml"
validate(config, "workflow/schemas/config.schema.yaml")
for part in ("experiments", "scales", "slides"):
    validate(study.read_yaml(study.CONFIG_DIR / f"{part}.yaml"), f"workflow/schemas/{part}.schema.yaml")

STUDY = study.load(config=config)
RUNS = [f"{config['results']}/{STUDY.scale}/runs/{name}/metrics.json" for name in STUDY.specs]
# what the command line changed, handed on to every `robustfl` call
OVERRIDES = shlex.join(w for k, v in config.items() if v != PLAIN[k] for w in ("--set", f"{k}={json.dumps(v)}"))
logger.info(f"robustfl: scale {STUDY.scale}, seeds {list(STUDY.seeds)}, {len(RUNS)} runs"
            + (" (scale auto: full needs a CUDA device)" if config["scale"] == "auto" else ""))


rule all:
    input:
        RUNS,
        "report/summary.pdf",


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/report.smk"
