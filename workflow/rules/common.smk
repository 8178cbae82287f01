# What touches Snakemake itself: its configuration, settings, forced rules and start. All else that
# the rules share is dispose_stages/batch/rules.py.
import gc
import os
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import validate

# In a checkout its own package, whether it is installed or not.
if Path(workflow.basedir, "dispose_stages").is_dir():
    sys.path.insert(0, str(workflow.basedir))
# `dispose` lies beside the Python that runs Snakemake, also where that environment is not active.
search_path = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
os.environ.update(PATH=os.pathsep.join(search_path))

from dispose_stages.batch.rules import RunRules, link_folder, memory, tell_caller
from dispose_stages.batch.summary import PlanSummary
from dispose_stages.errors import DisposeError


wildcard_constraints:
    shard=r"\d+-of-\d+",


def refusal(error):
    """An error of ours as Snakemake shows it; a terminal obeys what it is shown."""
    from dispose_stages.wording import printable

    tell_caller([f"error: {error}"])
    return WorkflowError(printable(str(error)))


def manifest_name(wildcards):
    """Params function: for a message."""
    from dispose_stages.wording import one_line

    return one_line(config["manifest"])


def say(lines, level="info"):
    """Lines for people; of warnings also the caller hears."""
    from dispose_stages.wording import printable

    lines = list(lines)
    if level == "warning":
        tell_caller(lines)
    for line in lines:
        getattr(logger, level)(printable(line))


def given_config():
    """The configuration as files and `--config` say it; Snakemake makes a number of `run: 007`."""
    from dispose_stages.config_text import read_config_files

    settings = workflow.config_settings
    added = workflow.overwrite_configfiles
    own = [] if settings.replace_workflow_config else workflow.configfiles[len(added) :]
    return read_config_files(map(Path, [*own, *added]), settings.config_args or ())


try:
    if workflow.is_main_process:
        from dispose_stages.config import load_config
        from dispose_stages.batch.prepare import Forced, prepare_run

        config.update(load_config(given_config()).model_dump(mode="json"))
        link_folder(config["results"])
        validate(config, "../../config/config.schema.json")
        gc.disable()
        prepared = prepare_run(config)
        gc.freeze()  # a large plan stays, and the collector would walk it for every graph
        gc.enable()
        plan = prepared.summary
        batch = RunRules(config, lambda: this_run().summary)
    else:  # a job of a cluster
        batch = RunRules(config, lambda: plan)
        plan = PlanSummary.read(batch.layout.summary)
except DisposeError as error:
    raise refusal(error) from None


GPU = config["compute"]["gpus_per_job"]
"""GPUs, and processes, of a job of a stage with networks."""


@cache
def this_run():
    """The run with what this command forces, which Snakemake tells after parsing only.

    Nothing is written before `begin_run`, so a dry run leaves no trace.
    """
    settle_settings()
    settings = workflow.dag_settings
    targets = set(settings.forcerun)
    if settings.forcetargets:
        targets |= set(settings.targets)
    forced = Forced.of(targets, everything=settings.forceall)
    current = prepare_run(config, forced) if forced else prepared
    # Parameters say so as well, but Snakemake forgets them with its folder `.snakemake`.
    stale = (str(batch.layout.ledger(*shard)) for shard in current.stale)
    workflow.dag.forcefiles.update(stale)
    say(current.reject_lines(), level="warning")
    return current


def settle_settings():
    """Adapt settings to run, machine and cluster, before executor and scheduler read them."""
    from dispose_stages.batch.gpus import jobs_at_once
    from dispose_stages.batch.slurm import job_name_prefix, settle_status_command

    # Jobs read the settled configuration, not all files and settings once more.
    workflow.config_settings.configfiles = [prepared.layout.config.absolute()]
    workflow.config_settings.config_args = []
    if workflow.local_exec and (count := jobs_at_once(os.environ)):
        workflow.global_resources.setdefault("gpu", max(count, GPU))
    settings = workflow.executor_settings
    if hasattr(settings, "jobname_prefix"):
        prefix = job_name_prefix(settings.jobname_prefix, prepared.layout.root)
        settings.jobname_prefix = prefix
        settings.status_command = settle_status_command(settings.status_command)


def begin_run():
    """Check the weights that jobs will read and write the plan down, once jobs will run."""
    from dispose_stages.batch.slurm import cancel_orphans
    from dispose_stages.weights.verification import verify

    current = this_run()
    try:
        stages = {job.rule.name for job in workflow.dag.needrun_jobs()}
        verify(current.config.models.folder, stages, current.config.models.bundle)
        current.commit()
    except DisposeError as error:
        raise refusal(error) from None
    prefix = getattr(workflow.executor_settings, "jobname_prefix", None)
    if current.exclusive and prefix and (jobs := cancel_orphans(prefix)):
        say(
            [f"cancelled {len(jobs)} jobs of a killed run: {' '.join(jobs)}"],
            level="warning",
        )


def log_delivery():
    """Say what came out and where it lies."""
    from dispose_stages.batch.delivery import delivery_lines
    from dispose_stages.batch.outcomes import RunOutcomes

    try:
        say(delivery_lines(RunOutcomes.read(prepared.layout.root)))
    except DisposeError as error:
        raise refusal(error) from None


def attempt(wildcards, attempt):
    return attempt
