"""What happens to the run on the cluster: everything that goes wrong on a real one, in one go."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.slurm.cluster import Cluster, Job, wait_until
from tests.slurm.workspace import REPOSITORY, Workspace, kill_hard

IMAGES, VIDEOS = 4, 6
RUN, CALM = "cluster", "calm"
PATIENCE = 240.0
"""Seconds until an awaited event counts as not coming."""
PACE = {"pose": 1.5, "motion": 1.5, "step": 2.0}


def write_profile(folder: Path) -> Path:
    """The shipped profile, adapted to the toy cluster as a site would do it."""
    profile = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text())
    profile |= {
        "slurm-init-seconds-before-status-checks": 2,
        "seconds-between-status-checks": 2,
        "max-status-checks-per-second": 2,
        "latency-wait": 10,
    }
    # SLURM counts whole minutes; a shard of `sample` takes longer than the first attempt's one.
    profile["set-resources"]["sample"]["runtime"] = "4 * attempt - 3"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(profile))
    return folder


@dataclass
class Story:
    """Facts noted on the way, for the tests to judge.

    Attributes:
        workspace: Where it happened.
        statuses: Exit status of snakemake by run.
        orphans: Jobs that lived on after the kill.
        cancelled: The job that was cancelled by hand.
        on_lost_node: The job whose node was set down.
        preempted: Jobs that were running where the urgent job went.
        jobs: All jobs of the cluster at the end.
        seconds: How long each act took.
        slow: Jobs that had begun to sample, at the slow pace, before the preemption.
    """

    workspace: Workspace
    statuses: dict[str, int] = field(default_factory=dict)
    orphans: list[Job] = field(default_factory=list)
    cancelled: Job | None = None
    on_lost_node: Job | None = None
    preempted: list[Job] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)


class Narrator:
    """Runs the pipeline on the cluster and lets things happen to it.

    Args:
        cluster: Running.
        workspace: Fresh.
        profile: Of Snakemake.
    """

    def __init__(self, cluster: Cluster, workspace: Workspace, profile: Path) -> None:
        self.cluster = cluster
        self.workspace = workspace
        self.profile = profile
        self.story = Story(workspace)
        self._since = time.monotonic()
        self._main: subprocess.Popen | None = None

    def tell(self) -> Story:
        """The whole story; the undisturbed run on this machine goes on beside it."""
        workspace = self.workspace
        workspace.pace(RUN, **PACE)
        workspace.pace(CALM)
        local = REPOSITORY / "profiles/local"
        calm = workspace.start(CALM, local, "--cores", "2", "--scheduler", "greedy")
        try:
            self._start()
            self.kill_snakemake()
            self.cancel_a_job()
            self.lose_a_node()
            self.preempt()
            self.story.statuses[RUN] = self._main.wait(timeout=PATIENCE * 2)
            self._end_of("rest")
            self.story.statuses[CALM] = calm.wait(timeout=PATIENCE)
            self._end_of("calm run")
            self.story.jobs = self.cluster.jobs()
        finally:
            for process in (self._main, calm):
                if process is not None and process.poll() is None:
                    kill_hard(process)
            self.workspace.kill_leftovers()
        return self.story

    def kill_snakemake(self) -> None:
        """In the middle of a job; then the same command again."""
        self._await(lambda: len(self._commits("pose")) >= 2, "two poses")
        kill_hard(self._main)
        self.story.orphans = self.cluster.jobs("running", "pending")
        self._start()
        self._end_of("kill")

    def cancel_a_job(self) -> None:
        """Somebody calls scancel on a job that has just begun to compute."""
        self.story.cancelled = self._computing("motion")
        self.cluster.run("scancel", self.story.cancelled.id)
        self._end_of("scancel")

    def lose_a_node(self) -> None:
        """A node goes down under another job, and comes back later."""
        self.story.on_lost_node = job = self._computing("motion", but=self.story.cancelled)
        node = ("scontrol", "update", f"nodename={job.node}")
        self.cluster.run(*node, "state=down", "reason=test")
        self._await(lambda: self._requeued(job), "the job back in the queue")
        # SLURM lets such jobs wait for two minutes.
        self.cluster.run("scontrol", "update", f"jobid={job.id}", "starttime=now")
        self._await(lambda: job.id in {j.id for j in self._running("motion")}, "it runs again")
        self.cluster.run(*node, "state=resume")
        self._end_of("node down")

    def preempt(self) -> None:
        """An urgent job takes the node away from a clip that has some steps behind it."""
        job = self._computing("sample")
        time.sleep(PACE["step"] * 1.5)
        self.story.preempted = [j for j in self._running("sample") if j.node == job.node]
        options = ["--partition", "urgent", "--nodelist", job.node, "--exclusive", "--time", "1"]
        self.cluster.run("sbatch", "--job-name=urgent", "-o", "/dev/null", *options, "--wrap=true")
        calls = self.workspace.calls(RUN)
        self.story.slow = {c.job for c in calls if (c.event, c.stage) == ("load", "sample")}
        self.workspace.pace(RUN)  # the jobs that go on need not be slow
        self._end_of("preemption")

    def _start(self) -> None:
        self._main = self.workspace.start(RUN, self.profile)

    def _running(self, stage: str) -> list[Job]:
        return [job for job in self.cluster.jobs("running") if job.stage == stage]

    def _requeued(self, job: Job) -> bool:
        return job.id in {j.id for j in self.cluster.jobs("pending")}

    def _commits(self, stage: str) -> set[str]:
        return set(self.workspace.count(RUN, "commit", stage))

    def _computing(self, stage: str, *, but: Job | None = None) -> Job:
        """A running job of a stage that is in the middle of a unit."""

        def find() -> list[Job]:
            calls = self.workspace.calls(RUN)
            busy = {call.job for call in calls if (call.event, call.stage) == ("compute", stage)}
            jobs = self._running(stage)
            return [job for job in jobs if job.id in busy and (but is None or job.id != but.id)]

        self._await(find, f"a job that computes {stage}")
        return find()[0]

    def _await(self, condition, what: str) -> None:
        def checked():
            if self._main.poll() not in (None, 0):
                raise RuntimeError(f"snakemake ended early, while waiting for {what}")
            return condition()

        wait_until(checked, PATIENCE, what)

    def _end_of(self, act: str) -> None:
        now = time.monotonic()
        self.story.seconds[act] = round(now - self._since, 1)
        self._since = now
