# The page to look at, and the tables: two jobs, for what fails loses its outputs.
rule report:
    input:
        lambda wildcards: [*batch.ledgers("mux"), *batch.ledgers("score")],
    output:
        html=report(
            batch.path("report.html"),
            caption="../report/page.rst",
            category="Results",
        ),
    log:
        batch.path("logs", "report.log"),
    benchmark:
        batch.path("benchmarks", "report.tsv")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=batch.minutes(),
    params:
        plan=plan.report,
        pairs=plan.pairs,
        run_dir=lambda wildcards: batch.run_dir,
    message:
        "report on {params.pairs} pairs"
    shell:
        "dispose report --only page --run-dir {params.run_dir:q} > {log:q} 2>&1"


rule tables:
    input:
        lambda wildcards: [*batch.ledgers("mux"), *batch.ledgers("score")],
    output:
        failures=report(
            batch.path("failures.csv"),
            caption="../report/failures.rst",
            category="Results",
        ),
        index=batch.path("index.parquet"),
        rejects=batch.path("rejects.csv"),
        scores=batch.path("scores.parquet"),
    log:
        batch.path("logs", "tables.log"),
    benchmark:
        batch.path("benchmarks", "tables.tsv")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=batch.minutes(),
    params:
        plan=plan.report,
        pairs=plan.pairs,
        run_dir=lambda wildcards: batch.run_dir,
    message:
        "tables of {params.pairs} pairs"
    shell:
        "dispose report --only tables --run-dir {params.run_dir:q} > {log:q} 2>&1"
