# What the rules share: the plan, and functions that read it.
import os
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import validate

# The checkout itself, where the package is not installed.
sys.path.insert(0, str(workflow.basedir))
# `dispose` lies beside the Python that runs Snakemake, also where that environment is not active.
search_path = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
os.environ.update(PATH=os.pathsep.join(search_path))

from dispose_stages.batch.delivery import read_delivery
from dispose_stages.errors import DisposeError
from dispose_stages.batch.gpus import gpu_count
from dispose_stages.batch.slurm import (
    cancel_orphans,
    job_name_prefix,
    settle_status_command,
)
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.summary import PlanSummary

RUN = os.path.join(config.get("results", "results"), config.get("run", "demo"))
layout = RunLayout(Path(RUN))

GPU = 1
"""GPUs per job of a stage with networks."""


try:
    if workflow.is_main_process:
        from dispose_stages.config import load_config
        from dispose_stages.batch.prepare import Forced, prepare_run

        # Numbers in `--config 'parameters={seed: 7}'` arrive as text.
        config.update(load_config(config).model_dump(mode="json"))
        validate(config, "../../config/config.schema.json")
        prepared = prepare_run(config)
        plan = prepared.summary
    else:  # a job of a cluster
        plan = PlanSummary.read(layout.summary)
except DisposeError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    shard=r"\d+-of-\d+",


@cache
def this_run():
    """The run with what this command forces, which Snakemake tells after parsing only.

    Nothing is written before `begin_run`, so a dry run leaves no trace.
    """
    settle_executor()
    settings = workflow.dag_settings
    targets = set(settings.forcerun)
    if settings.forcetargets:
        targets |= set(settings.targets)
    forced = Forced.of(targets, everything=settings.forceall)
    run = prepare_run(config, forced) if forced else prepared
    limit_gpus()
    # Parameters say so as well, but Snakemake forgets them with its folder `.snakemake`.
    workflow.dag.forcefiles.update(str(layout.ledger(*shard)) for shard in run.stale)
    for line in run.reject_lines():
        logger.warning(line)
    return run


def limit_gpus():
    """Without a scheduler: one job per GPU, unless `--resources gpu=N` says otherwise."""
    if not workflow.local_exec:
        return
    # Jobs share out the GPUs of a machine, but leave what somebody assigned as it is.
    count = 1 if os.environ.get("CUDA_VISIBLE_DEVICES") else gpu_count()
    if count:
        workflow.global_resources.setdefault("gpu", count)


def begin_run():
    """Check the weights and write the plan down, once it is certain that jobs will run."""
    from dispose_stages.weights.verification import verify

    run = this_run()
    try:
        verify(Path(run.config.models.root), None, run.config.models.bundle)
        run.commit()
        if run.exclusive:
            cancel_jobs_of_a_killed_run()
    except DisposeError as error:
        raise WorkflowError(str(error)) from None


def settle_executor():
    """Adapt the settings of the SLURM executor to run and cluster, before it reads them."""
    settings = workflow.executor_settings
    if hasattr(settings, "jobname_prefix"):
        settings.jobname_prefix = job_name_prefix(settings.jobname_prefix, layout.root)
        settings.status_command = settle_status_command(settings.status_command)


def cancel_jobs_of_a_killed_run():
    """After a kill -9 its jobs run on; this run submits the same units again."""
    prefix = getattr(workflow.executor_settings, "jobname_prefix", None)
    if prefix and (jobs := cancel_orphans(prefix)):
        logger.warning(f"cancelled {len(jobs)} jobs of a killed run: {' '.join(jobs)}")


def log_delivery():
    """Say what came out and where it lies."""
    for line in read_delivery(layout, plan).lines():
        logger.info(line)


def run_dir(wildcards):
    """Params function: the run's folder."""
    return RUN


def run_path(*parts):
    """A path below the run's folder; may hold wildcards."""
    return os.path.join(RUN, *parts)


def ledger(stage):
    """The ledger of a shard of a stage."""
    return run_path("ledger", stage, "{shard}.json")


def ledgers(stage):
    """All ledgers of a stage."""
    return [str(layout.ledger(stage, shard)) for shard in plan.shards[stage]]


def needed_ledgers():
    """Everything that a video hangs on."""
    weights = run_path("ledger", "weights.json")
    return [weights, *(str(layout.ledger(*job)) for job in plan.needed())]


def log(stage):
    """What a job says."""
    return run_path("logs", stage, "{shard}.log")


def benchmark_file(stage):
    """Time and memory of a job, as Snakemake measures them."""
    return run_path("benchmarks", stage, "{shard}.tsv")


def upstream_ledgers(stage):
    """Input function: ledgers of the shards that hold what this shard reads."""

    def of_shard(wildcards):
        upstream = shard_summary(stage, wildcards).upstream
        return [
            str(layout.ledger(s, shard))
            for s, shards in upstream.items()
            for shard in shards
        ]

    return of_shard


def shard_plan(stage):
    """Params function: changes whenever the shard has to be run again."""
    return lambda wildcards: shard_summary(stage, wildcards).plan


def work(stage, noun):
    """Params function: how many of what, for people."""
    return lambda wildcards: f"{shard_summary(stage, wildcards).units} {noun}"


def shard_summary(stage, wildcards):
    current = this_run().summary if workflow.is_main_process else plan
    try:
        return current.shards[stage][wildcards.shard]
    except KeyError:
        raise WorkflowError(
            f"the plan has no {stage} shard {wildcards.shard}"
        ) from None


def attempt(wildcards, attempt):
    return attempt


def memory(megabytes):
    """Resource function: more memory with every attempt."""
    return lambda wildcards, attempt: megabytes * attempt


def minutes(factor=4, least=30):
    """Resource function: several times the aimed run time of a shard, more with every attempt.

    A job ends itself before its limit and the next attempt goes on where it stopped.
    """
    return (
        lambda wildcards, attempt: max(least, round(factor * plan.shard_minutes))
        * attempt
    )
