# Records -> tables -> figures -> report and page. The package does the work; a stale or broken
# record stops it by name. `snakemake --report study.html` gathers what stands in in_report(...).

report: "../report/workflow.rst"


FOLDER = f"{config['results']}/{STUDY.scale}"
TABLES = {name: f"{FOLDER}/tables/{name}.csv" for name in [*STUDY.groups, "runs"]}
VERDICTS = expand("{folder}/tables/verdicts.{kind}", folder=FOLDER, kind=("csv", "md"))
FIGURES = {name: f"{FOLDER}/figures/{name}.svg" for name in figures.names(STUDY)}
REPORT = f"{FOLDER}/tables/report.json"
# what the user changed comes as a parameter: snakemake does not look for names in its braces
GATHER = "python -m robustfl report {params.what} {params.words} > {log:q} 2>&1"

# snakemake makes an absent file again for a target or for a job that runs anyway: a report that is
# there would outlive its records. What is absent now has the jobs run by a new parameter.
ABSENT = Path(f".snakemake/absent-{STUDY.scale}")
MADE = [*RUNS, *TABLES.values(), *VERDICTS, *FIGURES.values(), REPORT]
if not all(map(os.path.exists, MADE)) and workflow.is_main_process:
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
        [in_report(path, "Tables", "table", name) for name, path in TABLES.items()],
        [in_report(path, "Verdicts", "verdicts", "verdicts") for path in VERDICTS],
        REPORT,
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
        [in_report(path, "Figures", "figure", name) for name, path in FIGURES.items()],
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


rule pdf:
    input:
        TABLES.values(),
        FIGURES.values(),
        REPORT,
        "report/summary.typ",
        "report/references.yml",
    output:
        in_report(f"{FOLDER}/report.pdf", "Report", "pdf", "paper"),
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


rule page:
    input:
        RUNS,
        VERDICTS,
        FIGURES.values(),
        REPORT,
    output:
        in_report(f"{FOLDER}/report.html", "Report", "page", "page"),
    params:
        what="html",
        words=study_words,
        since=SINCE,
    log:
        "logs/page.log",
    conda:
        "../../environment.yml"
    shell:
        GATHER


# the report of the configured scale under the name that `make summary` knows
rule summary:
    input:
        f"{FOLDER}/report.pdf",
    output:
        "report/summary.pdf",
    log:
        "logs/summary.log",
    conda:
        "../../environment.yml"
    shell:
        "cp {input:q} {output:q} > {log:q} 2>&1"
