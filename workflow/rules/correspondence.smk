# Diffusion features at the keypoints of every reference image.
rule correspondence:
    input:
        upstream=batch.upstream("correspondence"),
        weights=batch.path("ledger", "weights.json"),
    output:
        ledger=batch.ledger("correspondence"),
    log:
        batch.log("correspondence"),
    benchmark:
        batch.benchmark("correspondence")
    conda:
        "../../environment.yml"
    threads: 2 * GPU
    resources:
        gpu=GPU,
        mem_mb=memory(16000 * GPU),
        runtime=batch.minutes(),
        attempt=attempt,
    params:
        plan=batch.shard_plan("correspondence"),
        work=batch.work("correspondence", "reference images"),
        run_dir=lambda wildcards: batch.run_dir,
    message:
        "correspondence shard {wildcards.shard}: {params.work}"
    shell:
        "dispose correspondence --run-dir {params.run_dir:q} --shard {wildcards.shard:q}"
        " --attempt {resources.attempt} >> {log:q} 2>&1"
