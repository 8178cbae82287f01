# Latents of every clip: the diffusion sampler.
rule sample:
    input:
        upstream=batch.upstream("sample"),
        weights=batch.path("ledger", "weights.json"),
    output:
        ledger=batch.ledger("sample"),
    log:
        batch.log("sample"),
    benchmark:
        batch.benchmark("sample")
    conda:
        "../../environment.yml"
    threads: 2 * GPU
    resources:
        gpu=GPU,
        mem_mb=memory(32000 * GPU),
        runtime=batch.minutes(),
        attempt=attempt,
    params:
        plan=batch.shard_plan("sample"),
        work=batch.work("sample", "clips"),
        run_dir=lambda wildcards: batch.run_dir,
    message:
        "sample shard {wildcards.shard}: {params.work}"
    shell:
        "dispose sample --run-dir {params.run_dir:q} --shard {wildcards.shard:q}"
        " --attempt {resources.attempt} >> {log:q} 2>&1"
