# Digests of the checkpoint files, so that other weights mean other artifacts.
rule weights:
    output:
        weights=batch.path("ledger", "weights.json"),
    log:
        batch.path("logs", "weights.log"),
    benchmark:
        batch.path("benchmarks", "weights.tsv")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=batch.minutes(),
    params:
        files=plan.weights,
        run_dir=lambda wildcards: batch.run_dir,
    message:
        "digests of the checkpoints"
    shell:
        "dispose fingerprint --run-dir {params.run_dir:q} > {log:q} 2>&1"
