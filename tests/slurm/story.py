"""What happens to the run on the cluster: everything that goes wrong on a real one, in one go.

Jobs wait at gates (`tests.slurm.paced_dispose`) for what is to happen to them, so that it happens
in the middle of a unit however fast or slow the machine is.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from dispose_stages.batch.summary import PlanSummary
from tests.slurm.cluster import Cluster, Job, wait_until
from tests.slurm.workspace import REPOSITORY, Workspace, kill_hard

IMAGES, VIDEOS = 4, 6
RUN, CALM = "cluster", "calm"
PATIENCE = 240.0
"""Seconds until an awaited event counts as not coming."""
POSES_BEFORE_THE_KILL = 2
STEPS_BEFORE_THE_PREEMPTION = 1
CLOSED = 0
"""Nothing passes such a gate."""


def write_profile(folder: Path, **constraints: str) -> Path:
    """The shipped profile, adapted to the toy cluster as a site would do it.

    Args:
        folder: Made here.
        constraints: Node features that a stage needs.
    """
    profile = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text())
    profile |= {
        "slurm-init-seconds-before-status-checks": 2,
        "seconds-between-status-checks": 2,
        "max-status-checks-per-second": 2,
        "latency-wait": 10,
    }
    # SLURM counts whole minutes; one job waits its first attempt's two away.
    profile["set-resources"]["mux"]["runtime"] = "2 if attempt == 1 else 60"
    for stage, constraint in constraints.items():
        profile["set-resources"][stage]["constraint"] = constraint
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
        late: The shard of `mux` whose first job waited until its time was up.
    """

    workspace: Workspace
    statuses: dict[str, int] = field(default_factory=dict)
    orphans: list[Job] = field(default_factory=list)
    cancelled: Job | None = None
    on_lost_node: Job | None = None
    preempted: list[Job] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    late: str = ""


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
        self._gates: dict[str, int] = {}

    def tell(self) -> Story:
        """The whole story; the undisturbed run on this machine goes on beside it."""
        workspace = self.workspace
        self._gates = {
            "pose": POSES_BEFORE_THE_KILL,
            "motion": CLOSED,
            "step": STEPS_BEFORE_THE_PREEMPTION,
        }
        workspace.gates(RUN, **self._gates)
        workspace.gates(CALM)
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
        self._waiting("pose")
        kill_hard(self._main)
        self.story.orphans = self.cluster.jobs("running", "pending")
        (orphan,) = self.story.orphans
        self._start()
        self._await(lambda: orphan.id not in {j.id for j in self._running("pose")}, "its end")
        self._open("pose")
        self._end_of("kill")

    def cancel_a_job(self) -> None:
        """Somebody calls scancel on a job that has just begun to compute."""
        self.story.cancelled = self._waiting("motion")
        self.cluster.run("scancel", self.story.cancelled.id)
        self._end_of("scancel")

    def lose_a_node(self) -> None:
        """A node goes down under another job, and comes back later."""
        self._await(lambda: len(self._commits("correspondence")) == IMAGES, "all features")
        self._await(lambda: not self._running("correspondence"), "the end of their jobs")
        self.story.on_lost_node = job = self._waiting("motion", but=self.story.cancelled)
        lost = [each.id for each in self.cluster.jobs("running") if each.node == job.node]
        node = ("scontrol", "update", f"nodename={job.node}")
        self.cluster.run(*node, "state=down", "reason=test")
        self._await(lambda: set(lost) <= self._pending(), "the jobs back in the queue")
        for each in lost:  # SLURM lets such jobs wait for two minutes
            self.cluster.run("scontrol", "update", f"jobid={each}", "starttime=now")
        self._await(lambda: job.id in {j.id for j in self._running("motion")}, "it runs again")
        self.cluster.run(*node, "state=resume")
        self._open("motion")
        self._end_of("node down")

    def preempt(self) -> None:
        """An urgent job takes the node away from a clip that has a step behind it."""
        job = self._waiting("step")
        plan = PlanSummary.read(self.workspace.layout(RUN).summary).shards["mux"]
        self.story.late = max(plan, key=lambda shard: plan[shard].units)
        self._gates[f"mux {self.story.late}"] = CLOSED
        self.workspace.gates(RUN, **self._gates)
        self.story.preempted = [j for j in self._running("sample") if j.node == job.node]
        options = ["--partition", "urgent", "--nodelist", job.node, "--exclusive", "--time", "1"]
        self.cluster.run("sbatch", "--job-name=urgent", "-o", "/dev/null", *options, "--wrap=true")
        self._await(lambda: job.id not in {j.id for j in self._running("sample")}, "its end")
        self._open("step")
        self._end_of("preemption")

    def _start(self) -> None:
        self._main = self.workspace.start(RUN, self.profile)

    def _running(self, stage: str) -> list[Job]:
        return [job for job in self.cluster.jobs("running") if job.stage == stage]

    def _pending(self) -> set[str]:
        return {job.id for job in self.cluster.jobs("pending")}

    def _open(self, gate: str) -> None:
        del self._gates[gate]
        self.workspace.gates(RUN, **self._gates)

    def _commits(self, stage: str) -> set[str]:
        return set(self.workspace.count(RUN, "commit", stage))

    def _waiting(self, gate: str, *, but: Job | None = None) -> Job:
        """A running job that waits at a gate, in the middle of a unit."""

        def find() -> list[Job]:
            calls = self.workspace.calls(RUN)
            waiting = {call.job for call in calls if (call.event, call.stage) == ("wait", gate)}
            jobs = [job for job in self.cluster.jobs("running") if job.id in waiting]
            return [job for job in jobs if but is None or job.id != but.id]

        self._await(find, f"a job that waits at {gate}")
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
