# Latents of every clip: the diffusion sampler.
rule sample:
    input:
        upstream=upstream_ledgers("sample"),
        weights=run_path("ledger", "weights.json"),
    output:
        ledger=ledger("sample"),
    log:
        log("sample"),
    benchmark:
        benchmark_file("sample")
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        gpu=GPU,
        mem_mb=memory(32000),
        runtime=minutes(),
        attempt=attempt,
    params:
        plan=shard_plan("sample"),
        work=work("sample", "clips"),
        run_dir=run_dir,
    message:
        "sample shard {wildcards.shard}: {params.work}"
    shell:
        "dispose sample --run-dir {params.run_dir:q} --shard {wildcards.shard:q}"
        " --attempt {resources.attempt} >> {log:q} 2>&1"
