# Records -> tables -> figures -> report. The package does the work; a stale or broken record stops
# it by name.
from robustfl.evidence import figures

FOLDER = f"{config['results']}/{STUDY.scale}"
TABLES = expand("{folder}/tables/{name}.csv", folder=FOLDER, name=[*STUDY.groups, "runs"])
VERDICTS = expand("{folder}/tables/verdicts.{kind}", folder=FOLDER, kind=("csv", "md"))
FIGURES = expand("{folder}/figures/{name}.svg", folder=FOLDER, name=figures.names(STUDY))
GATHER = (
    f"python -m robustfl report {{params.what}} --scale {STUDY.scale} {OVERRIDES}"
    " > {log:q} 2>&1"
)


rule tables:
    input:
        RUNS,
        "config/claims.yaml",
        "config/experiments.yaml",
        "config/slides.yaml",
    output:
        TABLES,
        VERDICTS,
        f"{FOLDER}/tables/report.json",
    params:
        what="tables",
    log:
        "logs/tables.log",
    conda:
        "../../environment.yml"
    shell:
        GATHER


rule figures:
    input:
        RUNS,
    output:
        FIGURES,
    params:
        what="figures",
    log:
        "logs/figures.log",
    conda:
        "../../environment.yml"
    shell:
        GATHER


rule report:
    input:
        TABLES,
        FIGURES,
        f"{FOLDER}/tables/report.json",
        "report/summary.typ",
    output:
        "report/summary.pdf",
    params:
        what="pdf",
    log:
        "logs/report.log",
    conda:
        "../../environment.yml"
    shell:
        GATHER
