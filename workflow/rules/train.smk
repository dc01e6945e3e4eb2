# One job = one run = one record; a packed record of the study's spec is restored, not trained.
# Data sets and pretrained models are made on demand by the run itself and are no inputs: an absent
# input would retrain every finished run that names it.
rule train:
    input:
        pretraining,
    output:
        f"{config['results']}/{{scale}}/runs/{{name}}/metrics.json",
    params:
        # a changed spec is trained again
        spec=lambda wildcards: study_at(wildcards.scale).spec(wildcards.name).hash,
        out=f"{config['results']}/{{scale}}/runs/{{name}}",
    wildcard_constraints:
        scale="|".join(study.scales()),
        name="[^/]+",
    threads: 1
    resources:
        mem_mb=2000,
        # no parameter: another cache or device is no reason to train a finished run again
        spec=spec_words,
    log:
        "logs/{scale}/{name}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m robustfl train {wildcards.name:q} {resources.spec} --out {params.out:q}"
        " > {log:q} 2>&1"
