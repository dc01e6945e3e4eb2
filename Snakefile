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


# a call that runs jobs; a job of a cluster reads this file too, but not this part
onstart:
    JobLines.install(logger)
    if workflow.local_exec:
        worker_client.offer()


rule all:
    default_target: True
    input:
        RUNS,
        f"{FOLDER}/report.html",
        "report/summary.pdf",
