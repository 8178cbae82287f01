"""kill -9 of a job, again and again, against an undisturbed one."""

import random
import subprocess
import sys
import time
from pathlib import Path

from dispose_stages.store.artifacts import ArtifactStore
from tests.toy_run import plan_run

UNITS = 24
CHILD = """
import sys, time
from pathlib import Path
from dispose_stages.batch.job import perform_shard
from tests.toy_run import CountingStage

run_dir, shard, log = sys.argv[1:]

def before(unit):
    with open(log, "a") as stream:
        stream.write(unit.key + "\\n")
    time.sleep(0.03)

sys.exit(perform_shard("pose", Path(run_dir), shard, stage=CountingStage("pose", before)))
"""


def start(run, shard, log):
    command = [sys.executable, "-c", CHILD, run.layout.root, shard, log]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2])


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def test_a_job_killed_at_random_moments_repeats_nothing_and_ends_the_same(tmp_path):
    """Finished units are never computed again, half-written ones never seen."""
    whole = plan_run(tmp_path / "whole", UNITS // 2, UNITS // 2)
    run = plan_run(tmp_path / "killed", UNITS // 2, UNITS // 2)
    for each in (whole, run):
        each.perform_all("ingest")
    (shard,) = run.plan.shards("pose")
    assert start(whole, shard, tmp_path / "whole.log").wait() == 0

    log, store = tmp_path / "killed.log", ArtifactStore(tmp_path / "killed" / "store")
    chance = random.Random(5)  # noqa: S311 - moments, not secrets
    for _ in range(4):
        done, started = set(store.keys("pose")), len(lines(log))
        child = start(run, shard, log)
        while set(store.keys("pose")) == done and child.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.uniform(0.0, 0.15))
        child.kill()
        child.wait()
        assert not done & set(lines(log)[started:])
        assert not run.layout.ledger("pose", shard).exists()
    done, started = set(store.keys("pose")), len(lines(log))
    assert 0 < len(done) < UNITS
    assert start(run, shard, log).wait() == 0
    assert not done & set(lines(log)[started:])

    def digests(of):
        labels = {unit.id: unit.label for unit in of.plan.units["pose"].values()}
        return {labels[i]: (e.status, e.key, e.digest) for i, e in of.entries("pose").items()}

    assert digests(run) == digests(whole)
    assert len(lines(log)) <= UNITS + 4, "at most the unit in flight is repeated"
    leftovers = [p.name for p in run.layout.root.rglob("*.running.json")]
    assert leftovers == []
