# Probes every media file once: size, frames, rotation, digest of the content.
rule ingest:
    output:
        ledger=ledger("ingest"),
    log:
        log("ingest"),
    benchmark:
        benchmark_file("ingest")
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=memory(2000),
        runtime=minutes(),
        attempt=attempt,
    params:
        plan=shard_plan("ingest"),
        work=work("ingest", "media files"),
        run_dir=run_dir,
    message:
        "ingest shard {wildcards.shard}: {params.work}"
    shell:
        "dispose ingest --run-dir {params.run_dir:q} --shard {wildcards.shard:q}"
        " --attempt {resources.attempt} >> {log:q} 2>&1"
