# Runs fetch what they need themselves, under a lock. This target fetches ahead of time:
# snakemake --cores 1 data
rule data:
    log:
        "logs/data.log",
    conda:
        "../../environment.yml"
    params:
        where=shlex.join(
            ["--cache", config["cache"], "--source", config["data"]["source"]]
            + (["--folder", config["data"]["folder"]] if config["data"]["folder"] else [])
        ),
    shell:
        "python -m robustfl data fetch {params.where} 2>&1 | tee {log:q}"
