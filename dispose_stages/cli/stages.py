"""One command per stage: what the workflow's rules call, and what can be called without it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dispose_stages.cli.logs import configure_logging, unit_progress
from dispose_stages.cli.options import run_dir_argument

_ABOUT = {
    "ingest": "Look at media files: can they be used, what are their size, length and digest.",
    "pose": "Find the persons' keypoints in reference images and driving videos.",
    "motion": "Align driving poses to the reference and compute the motion fields.",
    "correspondence": "Compute diffusion features at the reference's keypoints.",
    "sample": "Denoise the latents of each pair.",
    "mux": "Decode latents and write the videos.",
    "score": "Measure the videos against their truth and their drivers.",
}


def _stage_command(stage: str) -> click.Command:
    @click.command(
        name=stage,
        help=f"""{_ABOUT[stage]}

        Computes the units of one shard that are not in the store yet, and writes the shard's
        ledger last. The run must have been planned (by `dispose run` or snakemake) and the
        shards that this one reads must be finished.

        Exit status: 0 the ledger is written; 1 set-up or machine at fault; 75 stopped early by a
        signal or the time limit: the same command continues.""",
    )
    @run_dir_argument
    @click.option("--shard", required=True, help="Name of the shard, such as 0-of-4.")
    @click.option(
        "--attempt",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Which attempt this is, for the statistics.",
    )
    @click.option(
        "--deadline",
        type=float,
        help="Unix time at which this process will be killed. Default: as SLURM says.",
    )
    @click.option("--lane", type=int, hidden=True, help="Which process of a job with several GPUs.")
    @click.option("--queue", type=int, hidden=True, help="Descriptor of that job's queue.")
    @click.pass_obj
    def command(
        obj: dict[str, bool],
        *,
        run_dir: Path,
        shard: str,
        attempt: int,
        deadline: float | None,
        lane: int | None,
        queue: int | None,
    ) -> None:
        configure_logging(verbose=obj["verbose"])
        from dispose_stages.batch.lanes import perform_job, perform_lane

        job = (stage, run_dir, shard)
        if lane is not None and queue is not None:  # called by the job itself
            sys.exit(perform_lane(*job, lane, queue, attempt=attempt, deadline=deadline))
        with unit_progress(f"{stage} {shard}") as on_progress:
            status = perform_job(
                *job,
                command=sys.orig_argv,
                attempt=attempt,
                deadline=deadline,
                on_progress=on_progress,
            )
        sys.exit(status)

    return command


ingest = _stage_command("ingest")
pose = _stage_command("pose")
motion = _stage_command("motion")
correspondence = _stage_command("correspondence")
sample = _stage_command("sample")
mux = _stage_command("mux")
score = _stage_command("score")
