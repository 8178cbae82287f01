# Keypoints of all persons in reference images and driving videos.
rule pose:
    input:
        upstream=batch.upstream("pose"),
        weights=batch.path("ledger", "weights.json"),
    output:
        ledger=batch.ledger("pose"),
    log:
        batch.log("pose"),
    benchmark:
        batch.benchmark("pose")
    conda:
        "../../environment.yml"
    threads: 4 * GPU
    resources:
        gpu=GPU,
        mem_mb=memory(12000 * GPU),
        runtime=batch.minutes(),
        attempt=attempt,
    params:
        plan=batch.shard_plan("pose"),
        work=batch.work("pose", "images and videos"),
        run_dir=lambda wildcards: batch.run_dir,
    message:
        "pose shard {wildcards.shard}: {params.work}"
    shell:
        "dispose pose --run-dir {params.run_dir:q} --shard {wildcards.shard:q}"
        " --attempt {resources.attempt} >> {log:q} 2>&1"
