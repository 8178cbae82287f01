# Decodes latents and writes the videos.
rule mux:
    input:
        upstream=upstream_ledgers("mux"),
        weights=run_path("ledger", "weights.json"),
    output:
        ledger=ledger("mux"),
    log:
        log("mux"),
    benchmark:
        benchmark_file("mux")
    conda:
        "../../environment.yml"
    threads: 4
    resources:
        gpu=GPU,
        mem_mb=memory(16000),
        runtime=minutes(),
        attempt=attempt,
    params:
        plan=shard_plan("mux"),
        work=work("mux", "videos"),
        run_dir=run_dir,
    message:
        "mux shard {wildcards.shard}: {params.work}"
    shell:
        "dispose mux --run-dir {params.run_dir:q} --shard {wildcards.shard:q}"
        " --attempt {resources.attempt} >> {log:q} 2>&1"
