"""Twenty kinds of damage: each is found, and the next run mends it and computes nothing else."""

import json
import os
import shutil

import pytest
from click.testing import CliRunner

from dispose_stages.batch.ledger import Ledger
from dispose_stages.batch.outcomes import PairStatus, RunOutcomes
from dispose_stages.batch.prepare import prepare_run
from dispose_stages.batch.unit import Result
from dispose_stages.batch.verify import Verification
from dispose_stages.cli import cli
from dispose_stages.config import STAGES
from dispose_stages.store.shelf import Video, VideoShelf
from tests.toy_run import CountingStage, plan_run


class Delivering(CountingStage):
    """`mux` with a shelf of small files as videos."""

    def repository(self, context):
        self.shelf = VideoShelf(context.videos)
        return self

    def find(self, unit):
        found = self.shelf.find(unit.id, unit.key)
        return found and self._result(found)

    def commit(self, unit, artifact):
        path = self.shelf.staging(unit.id, unit.key, ".mp4")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(unit.id.encode() * 100)
        staged = Video(path, 5, 64, 96, 15.0)
        return self._result(self.shelf.commit(unit.id, unit.key, staged, {}))

    def _result(self, video):
        return Result(key=video.key, digest=video.digest, facts={"file": video.path.name})


class Run:
    """A finished toy run with planning as a real one has it."""

    def __init__(self, root):
        self.toy = plan_run(root)
        self.values = self.toy.config.model_dump(mode="json")
        self.layout = self.toy.layout
        self.go_on()
        self.calls = self.counted()

    def go_on(self):
        """Plan, and run what Snakemake would run."""
        prepared = prepare_run(self.values)
        prepared.commit()
        prepared.release()
        self.toy.stages.setdefault("mux", Delivering("mux"))
        again = prepared.control.epochs
        for stage in STAGES:
            for shard in self.toy.plan.shards(stage):
                job = (stage, shard)
                lost = not self.layout.ledger(*job).exists()
                if lost or "/".join(job) in again or job in prepared.stale:
                    assert self.toy.perform(stage) == [0]

    def counted(self):
        return {name: dict(stage.calls) for name, stage in self.toy.stages.items()}

    def artifact(self, stage):
        return min((self.toy.root / "store" / stage).rglob("*.zarr.zip"))

    def video(self, ending):
        return self.layout.videos / f"i0_v0{ending}"


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change_json(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


def of_another_key(run):
    first, second = sorted((run.toy.root / "store/pose").rglob("*.zarr.zip"))[:2]
    shutil.copy(second, first)


def link_loop(path):
    path.unlink()
    path.symlink_to(path)


def false_digest(run):
    """Valid JSON with another digest in it."""
    (path,) = (run.layout.ledger("motion", s) for s in run.toy.plan.shards("motion"))
    content = json.loads(path.read_text())
    next(iter(content["units"].values()))["digest"] = "0" * 64
    path.write_text(json.dumps(content))


def false_ledger(run):
    """A whole, sealed ledger that names another content."""
    (shard,) = run.toy.plan.shards("motion")
    ledger = Ledger.read(run.layout.ledger("motion", shard))
    units = {unit: Result(key=r.key, digest="0" * 64) for unit, r in ledger.units.items()}
    path = run.layout.ledger("motion", shard)
    path.write_text(Ledger("motion", shard, units).to_json())


def another_pairs_video(run):
    shutil.copy(run.layout.videos / "i1_v1.mp4", run.video(".mp4"))


DAMAGE = {
    "artifact gone": lambda run: run.artifact("pose").unlink(),
    "artifact truncated": lambda run: truncate(run.artifact("motion")),
    "artifact empty": lambda run: os.truncate(run.artifact("sample"), 0),
    "artifact with a flipped bit": lambda run: flip(run.artifact("sample")),
    "artifact of another key": of_another_key,
    "artifact is a pipe": lambda run: fifo(run.artifact("motion")),
    "artifact is a folder": lambda run: folder(run.artifact("correspondence")),
    "artifact is a link to itself": lambda run: link_loop(run.artifact("correspondence")),
    "video gone": lambda run: run.video(".mp4").unlink(),
    "video truncated": lambda run: truncate(run.video(".mp4")),
    "video empty": lambda run: os.truncate(run.video(".mp4"), 0),
    "video with a flipped bit": lambda run: flip(run.video(".mp4")),
    "another pair's video": another_pairs_video,
    "sidecar gone": lambda run: run.video(".json").unlink(),
    "sidecar damaged": lambda run: truncate(run.video(".json")),
    "sidecar of another pair": lambda run: change_json(run.video(".json"), pair_id="i1_v1"),
    "sidecar with another key": lambda run: change_json(run.video(".json"), key="ab" * 20),
    "ledger damaged": lambda run: truncate(run.layout.ledger("pose", "0-of-1")),
    "ledger with a false digest": false_digest,
    "ledger of another content": false_ledger,
    "pairs damaged": lambda run: truncate(run.layout.pairs),
    "summary damaged": lambda run: run.layout.summary.write_text("[" * 100_000),
    "requests damaged": lambda run: run.layout.control.write_text("{"),
    "shard file damaged": lambda run: truncate(run.layout.shard("pose", "0-of-1")),
    "false digests of weights": lambda run: change_json(run.layout.weights, stages={"pose": "f"}),
}
NOTHING_AGAIN = ("pairs", "summary", "requests", "shard", "ledger", "false")


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_mended(run, kind):
    """`verify` names it; the next run brings everything back and computes nothing else."""
    assert list(Verification(run.layout, repair=False).damages()) == []
    DAMAGE[kind](run)
    outcome = CliRunner().invoke(cli, ["verify", str(run.layout.root)])
    assert outcome.exit_code == 5, outcome.output
    assert "taken out of use" in outcome.output
    run.go_on()
    if kind == "false digests of weights":  # its rule makes them anew
        assert not run.layout.weights.exists()
        return
    assert list(Verification(run.layout, repair=False).damages()) == []
    outcomes = RunOutcomes.read(run.layout.root)
    assert {o.status for o in outcomes.pair_outcomes()} == {PairStatus.DELIVERED}
    again = sum(sum(stage.calls.values()) for stage in run.toy.stages.values())
    before = sum(sum(calls.values()) for calls in run.calls.values())
    assert again - before == (0 if kind.startswith(NOTHING_AGAIN) else 1)


def test_a_look_changes_nothing(run):
    """With --dry-run the damaged artifact stays where it is."""
    path = run.artifact("pose")
    flip(path)
    content = path.read_bytes()
    outcome = CliRunner().invoke(cli, ["verify", "-n", str(run.layout.root)])
    assert "1 damaged" in outcome.output
    assert path.read_bytes() == content


def test_the_whole_store(run):
    """Artifacts that no ledger of the run names are looked at on request."""
    other = run.artifact("pose").with_name("ab" * 20 + ".zarr.zip")
    other.write_bytes(b"damaged")
    assert list(Verification(run.layout, repair=False).damages()) == []
    ((path, _),) = Verification(run.layout, repair=True).damages(whole_store=True)
    assert path == other
    assert not other.exists()
