# Aligned poses, point tracks and the motion field of every pair.
rule motion:
    input:
        upstream=batch.upstream("motion"),
        weights=batch.path("ledger", "weights.json"),
    output:
        ledger=batch.ledger("motion"),
    log:
        batch.log("motion"),
    benchmark:
        batch.benchmark("motion")
    conda:
        "../../environment.yml"
    threads: 2 * GPU
    resources:
        gpu=GPU,
        mem_mb=memory(12000 * GPU),
        runtime=batch.minutes(),
        attempt=attempt,
    params:
        plan=batch.shard_plan("motion"),
        work=batch.work("motion", "pairs"),
        run_dir=lambda wildcards: batch.run_dir,
    message:
        "motion shard {wildcards.shard}: {params.work}"
    shell:
        "dispose motion --run-dir {params.run_dir:q} --shard {wildcards.shard:q}"
        " --attempt {resources.attempt} >> {log:q} 2>&1"
