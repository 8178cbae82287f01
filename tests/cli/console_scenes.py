"""Writes docs/console.md: ``python -m tests.cli.console_scenes``.

Real plans, ledgers, statistics and leases of made-up stages drive the same view that `dispose run`
shows; only seconds are made up, so that they are the same on every machine.
"""

import contextlib
import json
import os
import signal
import socket
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from dispose_stages.atomic import write_text
from dispose_stages.batch.lease import boot_id
from dispose_stages.batch.ledger import Ledger
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.stage import InterruptedUnitError
from dispose_stages.batch.stats import JobStats
from dispose_stages.cli.closing import closing_lines
from dispose_stages.cli.conduct import stopping
from dispose_stages.cli.console import block
from dispose_stages.cli.supervision import Supervised
from dispose_stages.cli.watch import Watch
from dispose_stages.errors import Reason, UnitError, WarningCode
from tests.toy_run import CountingStage, plan_run

DOCUMENT = Path(__file__).parents[2] / "docs" / "console.md"
WIDTH = 80
SECONDS = {
    "ingest": 0.3,
    "pose": 2.0,
    "motion": 1.0,
    "correspondence": 1.5,
    "sample": 20.0,
    "mux": 3.0,
}
DEMO = (
    "blue_dances,media/blue.png,media/dance.mp4",
    "green_waves,media/green.png,media/wave.mp4",
    "blue_waves,media/blue.png,media/wave.mp4",
)
HEAD = """\
# What `dispose run` shows

On a terminal, one block at its lower end: a line per stage with its units (`█` done, `▓` done
before or found in the store, `\u2573` failed or blocked, `▒` in jobs that run, `░` to come), what
its jobs have in hand with the step they are at, and how long everything that is left will take:
"perhaps" while a stage counts by `shards.seconds_per_unit`, "about" once all were measured here.
Warnings and failures are lines above it. Into a pipe or a file go a line per minute and those same
lines, each with the time of day. What Snakemake says itself lies in
`results/<run>/logs/snakemake.log`; `--verbose` shows that instead.

Made by `python -m tests.cli.console_scenes`; a test compares.
"""


class Recorder:
    """A screen that remembers: lines, and the block where `frame` is called."""

    def __init__(self):
        self.text = []
        self._block = ""

    def line(self, text, style=""):
        self.text.append(text)

    def show(self, view):
        self._block = block(view, WIDTH).plain

    def close(self):
        self._block = ""

    def frame(self):
        """What a person sees who looks now."""
        self.text += [self._block, ""]


class Scene:
    """A toy run that is watched by a command which began `seconds` ago."""

    def __init__(self, root, rows=DEMO, names=("blue.png", "green.png", "dance.mp4", "wave.mp4")):
        for name in names:
            (root / "media" / name).write_text(name)
        self.root = root
        self.run = plan_run(root, 0, 0, more=rows)
        self.begin()

    def begin(self):
        """A command begins."""
        self.screen = Recorder()
        self.seconds = 0.0
        began = time.time()
        self.watch = Watch(self.run.config, self.screen, now=lambda: began + self.seconds)
        self.process = Supervised(pid=os.getpid())
        self.screen.text.append("$ dispose run")
        self.look(3)
        self.screen.frame()
        self.run.layout.run_lock.write_text(f"process {os.getpid()} on here")

    def look(self, seconds):
        self.seconds = seconds
        self.watch.look(self.process)

    def perform(self, *stages, **options):
        """Jobs run to their end, and take what such units take."""
        for stage in stages:
            self.run.perform(stage, **options)
            for shard in self.run.plan.shards(stage):
                self._settle_times(self.run.layout.stats(stage, shard), SECONDS[stage])

    def _settle_times(self, path, seconds):
        stats = JobStats.read(path)
        stats.seconds = dict.fromkeys(stats.seconds, seconds)
        for attempt in stats.attempts:
            attempt.seconds = 5.0 + attempt.computed * seconds
        stats.write(path)

    def in_hand(self, stage, index, **facts):
        """A job is alive and has one of its units in hand."""
        unit = self.run.plan.shards(stage)["0-of-1"][index]
        own = {"updated": time.time(), "pid": os.getpid(), "boot": boot_id()}
        own |= {"host": socket.gethostname(), "unit": unit.id, "label": unit.label}
        path = self.run.layout.running(stage, "0-of-1")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(own | facts))

    def warn(self, stage, label, code):
        """A unit's result carries a warning."""
        path = self.run.layout.ledger(stage, "0-of-1")
        ledger = Ledger.read(path)
        (unit,) = [u.id for u in self.run.plan.shards(stage)["0-of-1"] if u.label == label]
        units = {**ledger.units, unit: replace(ledger.units[unit], warnings=(code,))}
        write_text(path, replace(ledger, units=units).to_json())

    def ended(self, stage):
        self.run.layout.running(stage, "0-of-1").unlink()

    def close(self, seconds):
        """The command ends."""
        self.look(seconds)
        if not self.process.stopped_by:
            self.run.layout.report.touch()
        outcomes = RunOutcomes.read(self.run.layout.root)
        lines = closing_lines(outcomes, seconds, self.watch.began, WIDTH)
        return "\n".join([*self.screen.text, *lines]).replace(f"{self.root}/", "")


def in_its_folder(scene):
    """Units are named after the paths of their media, from the working directory."""

    def inside(root):
        (root / "media").mkdir(parents=True)
        with contextlib.chdir(root):
            return scene(root)

    return inside


@in_its_folder
def demo(root):
    scene = Scene(root)
    scene.perform("ingest")
    scene.in_hand("pose", 2, done=2, step=12, steps=24)
    scene.look(11)
    scene.screen.frame()
    scene.ended("pose")
    scene.perform("pose", "correspondence", "motion")
    scene.in_hand("sample", 1, done=1, step=5, steps=8)
    scene.look(52)
    scene.screen.frame()
    scene.ended("sample")
    scene.perform("sample", "mux")
    return scene.close(101)


@in_its_folder
def failures(root):
    """Three kinds, a warning and a row that cannot run."""
    rows = (*DEMO, "red_waves,media/red.png,media/wave.mp4", "lost,media/lost.png,media/wave.mp4")
    names = ("blue.png", "green.png", "red.png", "dance.mp4", "wave.mp4")
    scene = Scene(root, rows, names)
    scene.screen.text += [
        "1 row of manifest.csv is set aside (all in results/demo/rejects.csv):",
        "  line 6, reference_image: no such file: media/lost.png",
    ]
    reasons = {
        ("pose", "red.png @128"): (Reason.NUMERIC, "the pose network gave non-finite values"),
        ("motion", "green.png + wave.mp4"): (
            Reason.ALIGNMENT_POOR,
            "the fit is off by 1.4 of the height; allowed is 1",
        ),
        ("sample", "blue.png + wave.mp4"): (
            Reason.OUT_OF_MEMORY,
            "the memory does not suffice on any rung",
        ),
    }

    def before(unit):
        if (unit.stage, unit.label) in reasons:
            raise UnitError(*reasons[unit.stage, unit.label])

    for stage in ("pose", "motion", "sample"):
        scene.run.stages[stage] = CountingStage(stage, before)
    scene.perform("ingest", "pose", "correspondence", "motion")
    scene.warn("motion", "blue.png + dance.mp4", WarningCode.FIT_WITHOUT_PERSON)
    scene.look(40)
    scene.in_hand("sample", 1, done=1, step=1, steps=8)
    scene.look(52)
    scene.screen.frame()
    scene.ended("sample")
    scene.perform("sample", "mux")
    return scene.close(75)


@in_its_folder
def interrupted_and_resumed(root):
    """Two commands: one that is stopped while it samples, and the same again."""
    scene = Scene(root)
    scene.perform("ingest", "pose", "correspondence", "motion")
    scene.in_hand("sample", 1, done=1, step=3, steps=8)
    scene.look(60)
    scene.screen.frame()
    scene.screen.text[-1] = "^C"
    scene.watch.tell(stopping(signal.SIGINT))
    scene.process.stopped_by = signal.SIGINT
    stage = scene.run.stages["sample"] = CountingStage("sample")

    def before(_unit):
        if stage.calls.total() == 2:
            stage.context.stop_requested = lambda: True
            raise InterruptedUnitError("stopped between two steps; the state is saved")

    stage.before = before
    scene.ended("sample")
    scene.perform("sample")
    first = scene.close(64) + "\nstopped; what is finished is kept, and the same command continues"
    scene.begin()
    scene.run.stages["sample"] = CountingStage("sample")
    scene.in_hand("sample", 1, done=1, found=1, step=4, steps=8)
    scene.look(15)
    scene.screen.frame()
    scene.ended("sample")
    scene.perform("sample", "mux")
    return first, scene.close(58)


def document():
    """The text of docs/console.md."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        shown, failed, (stopped, resumed) = (
            scene(root / name)
            for name, scene in (
                ("demo", demo),
                ("failures", failures),
                ("stopped", interrupted_and_resumed),
            )
        )
    scenes = {
        "The demo": shown,
        "Three kinds of failure, a warning and a row that cannot run": failed,
        "Interrupted": stopped,
        "The same command again": resumed,
    }
    parts = [f"\n## {title}\n\n```\n{text}\n```\n" for title, text in scenes.items()]
    return HEAD + "".join(parts)


if __name__ == "__main__":
    write_text(DOCUMENT, document())
