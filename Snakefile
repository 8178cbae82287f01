# The whole pipeline: ingest → pose → motion, correspondence → sample → mux → score → report.
#
#   snakemake --profile profiles/local                     this machine
#   snakemake --profile profiles/slurm                     a cluster
#   snakemake --profile profiles/local -n                  what would be done
#   snakemake --profile profiles/local --config manifest=mine.csv run=mine
#
# One job computes one shard of one stage (docs/architecture.md). This file is parsed again in
# every job of a cluster, so it stays cheap: only the main process plans.
from snakemake.utils import min_version

min_version("9.0")


# A job reads the settled configuration of its run.
if workflow.is_main_process:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"


rule all:
    default_target: True
    input:
        lambda wildcards: batch.targets(),
    localrule: True
    params:
        manifest=manifest_name,
        pairs=plan.pairs,
    message:
        "{params.pairs} pairs of {params.manifest} are through"


include: "workflow/rules/weights.smk"
include: "workflow/rules/ingest.smk"
include: "workflow/rules/pose.smk"
include: "workflow/rules/motion.smk"
include: "workflow/rules/correspondence.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/mux.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/report.smk"


onstart:
    if workflow.is_main_process:
        begin_run()


onsuccess:
    if workflow.is_main_process:
        log_delivery()


onerror:
    if workflow.is_main_process:
        log_delivery()
        say(["what is finished is kept, and the same command continues"])
