# Keypoints of all persons in reference images and driving videos.
rule pose:
    input:
        upstream=upstream_ledgers("pose"),
        weights=run_path("ledger", "weights.json"),
    output:
        ledger=ledger("pose"),
    log:
        log("pose"),
    benchmark:
        benchmark_file("pose")
    conda:
        "../../environment.yml"
    threads: 4
    resources:
        gpu=GPU,
        mem_mb=memory(12000),
        runtime=minutes(),
        attempt=attempt,
    params:
        plan=shard_plan("pose"),
        work=work("pose", "images and videos"),
        run_dir=run_dir,
    message:
        "pose shard {wildcards.shard}: {params.work}"
    shell:
        "dispose pose --run-dir {params.run_dir:q} --shard {wildcards.shard:q}"
        " --attempt {resources.attempt} >> {log:q} 2>&1"
