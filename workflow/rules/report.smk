# Records -> tables -> figures -> report. The package does the work; a stale or broken record stops
# it by name.
from robustfl.evidence import figures

FOLDER = f"{config['results']}/{STUDY.scale}"
TABLES = expand("{folder}/tables/{name}.csv", folder=FOLDER, name=[*STUDY.groups, "runs"])
VERDICTS = expand("{folder}/tables/verdicts.{kind}", folder=FOLDER, kind=("csv", "md"))
FIGURES = expand("{folder}/figures/{name}.svg", folder=FOLDER, name=figures.names(STUDY))
# what the user changed comes as a parameter: snakemake does not look for names in its braces
GATHER = "python -m robustfl report {params.what} {params.words} > {log:q} 2>&1"

# snakemake makes an absent file again for a target or for a job that runs anyway: a report that is
# there would outlive its records. What is absent now has the jobs run by a new parameter.
ABSENT = Path(f".snakemake/absent-{STUDY.scale}")
if not all(map(os.path.exists, [*RUNS, *TABLES, *VERDICTS, *FIGURES])) and workflow.is_main_process:
    ABSENT.parent.mkdir(exist_ok=True)
    ABSENT.write_text(str(time.time_ns()))
SINCE = ABSENT.read_text() if ABSENT.exists() else ""


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
        words=study_words,
        since=SINCE,
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
        words=study_words,
        since=SINCE,
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
        words=study_words,
        since=SINCE,
    log:
        "logs/report.log",
    conda:
        "../../environment.yml"
    shell:
        GATHER
