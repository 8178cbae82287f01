# Probes every media file once: size, frames, rotation, digest of the content.
rule ingest:
    output:
        ledger=batch.ledger("ingest"),
    log:
        batch.log("ingest"),
    benchmark:
        batch.benchmark("ingest")
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=memory(2000),
        runtime=batch.minutes(),
        attempt=attempt,
    params:
        plan=batch.shard_plan("ingest"),
        work=batch.work("ingest", "media files"),
        run_dir=lambda wildcards: batch.run_dir,
    message:
        "ingest shard {wildcards.shard}: {params.work}"
    shell:
        "dispose ingest --run-dir {params.run_dir:q} --shard {wildcards.shard:q}"
        " --attempt {resources.attempt} >> {log:q} 2>&1"
