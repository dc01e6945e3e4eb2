# Runs fetch what they need themselves, under a lock; this target fetches ahead of time: snakemake --cores 1 data
rule data:
    log:
        "logs/data.log",
    conda:
        "../../environment.yml"
    params:
        overrides=OVERRIDES,
    shell:
        "python -m robustfl data fetch {params.overrides} 2>&1 | tee {log:q}"
