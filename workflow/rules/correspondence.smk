# Diffusion features at the keypoints of every reference image.
rule correspondence:
    input:
        upstream=upstream_ledgers("correspondence"),
        weights=run_path("ledger", "weights.json"),
    output:
        ledger=ledger("correspondence"),
    log:
        log("correspondence"),
    benchmark:
        benchmark_file("correspondence")
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        gpu=GPU,
        mem_mb=memory(16000),
        runtime=minutes(),
        attempt=attempt,
    params:
        plan=shard_plan("correspondence"),
        work=work("correspondence", "reference images"),
        run_dir=run_dir,
    message:
        "correspondence shard {wildcards.shard}: {params.work}"
    shell:
        "dispose correspondence --run-dir {params.run_dir:q} --shard {wildcards.shard:q}"
        " --attempt {resources.attempt} >> {log:q} 2>&1"
