# Aligned poses, point tracks and the motion field of every pair.
rule motion:
    input:
        upstream=upstream_ledgers("motion"),
        weights=run_path("ledger", "weights.json"),
    output:
        ledger=ledger("motion"),
    log:
        log("motion"),
    benchmark:
        benchmark_file("motion")
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        gpu=GPU,
        mem_mb=memory(12000),
        runtime=minutes(),
        attempt=attempt,
    params:
        plan=shard_plan("motion"),
        work=work("motion", "pairs"),
        run_dir=run_dir,
    message:
        "motion shard {wildcards.shard}: {params.work}"
    shell:
        "dispose motion --run-dir {params.run_dir:q} --shard {wildcards.shard:q}"
        " --attempt {resources.attempt} >> {log:q} 2>&1"
