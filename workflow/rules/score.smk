# Measures the videos; nothing unless the configuration names groups of metrics.
rule score:
    input:
        upstream=batch.upstream("score"),
        weights=batch.path("ledger", "weights.json"),
    output:
        ledger=batch.ledger("score"),
    log:
        batch.log("score"),
    benchmark:
        batch.benchmark("score")
    conda:
        "../../environment.yml"
    threads: 4 * GPU
    resources:
        gpu=GPU if set(config["score"]["metrics"]) - {"frames"} else 0,
        mem_mb=memory(16000 * GPU),
        runtime=batch.minutes(),
        attempt=attempt,
    params:
        plan=batch.shard_plan("score"),
        work=batch.work("score", "groups of metrics"),
        run_dir=lambda wildcards: batch.run_dir,
    message:
        "score shard {wildcards.shard}: {params.work}"
    shell:
        "dispose score --run-dir {params.run_dir:q} --shard {wildcards.shard:q}"
        " --attempt {resources.attempt} >> {log:q} 2>&1"
