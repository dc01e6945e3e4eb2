# The whole study: snakemake --cores 4 report/summary.pdf
# The plan alone:  snakemake -n
# One run:         snakemake --cores 1 results/full/runs/NAME/metrics.json
#                  (names: robustfl runs --scale full)
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        RUNS,
        f"{FOLDER}/report.html",
        "report/summary.pdf",
