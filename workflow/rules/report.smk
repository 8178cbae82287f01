# The page to look at, the list of failures and the index of the data set.
rule report:
    input:
        ledgers("mux"),
    output:
        html=report(
            run_path("report.html"),
            caption="../report/page.rst",
            category="Results",
        ),
        failures=report(
            run_path("failures.csv"),
            caption="../report/failures.rst",
            category="Results",
        ),
        index=run_path("index.parquet"),
    log:
        run_path("logs", "report.log"),
    benchmark:
        run_path("benchmarks", "report.tsv")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(),
    params:
        plan=plan.report,
        pairs=plan.pairs,
        run_dir=run_dir,
    message:
        "report on {params.pairs} pairs"
    shell:
        "dispose report --run-dir {params.run_dir:q} > {log:q} 2>&1"
