# Decodes latents and writes the videos.
rule mux:
    input:
        upstream=batch.upstream("mux"),
        weights=batch.path("ledger", "weights.json"),
    output:
        ledger=batch.ledger("mux"),
    log:
        batch.log("mux"),
    benchmark:
        batch.benchmark("mux")
    conda:
        "../../environment.yml"
    threads: 4 * GPU
    resources:
        gpu=GPU,
        mem_mb=memory(16000 * GPU),
        runtime=batch.minutes(),
        attempt=attempt,
    params:
        plan=batch.shard_plan("mux"),
        work=batch.work("mux", "videos"),
        run_dir=lambda wildcards: batch.run_dir,
    message:
        "mux shard {wildcards.shard}: {params.work}"
    shell:
        "dispose mux --run-dir {params.run_dir:q} --shard {wildcards.shard:q}"
        " --attempt {resources.attempt} >> {log:q} 2>&1"
