# Runs fetch what they need themselves, under a lock. This target fetches ahead of time:
# snakemake --cores 1 data
rule data:
    log:
        "logs/data.log",
    conda:
        "../../environment.yml"
    params:
        words=data_words,
    shell:
        "python -m robustfl data fetch {params.words} 2>&1 | tee {log:q}"
