# One job = one run = one record. Data sets and pretrained models are made on demand by the run itself and are no
# inputs: an absent input would retrain every finished run that names it.
rule train:
    input:
        pretraining,
    output:
        f"{config['results']}/{{scale}}/runs/{{name}}/metrics.json",
    params:
        spec=lambda wildcards: study_at(wildcards.scale).spec(wildcards.name).hash,  # a changed spec is trained again
        overrides=OVERRIDES,
        out=f"{config['results']}/{{scale}}/runs/{{name}}",
    wildcard_constraints:
        scale="|".join(study.SCALES),
        name="[^/]+",
    threads: 1
    resources:
        mem_mb=2000,
    log:
        "logs/{scale}/{name}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m robustfl train {wildcards.name} --scale {wildcards.scale} {params.overrides} --out {params.out:q}"
        " > {log:q} 2>&1"
