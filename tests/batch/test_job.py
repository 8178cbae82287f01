import errno
import os
import signal
from pathlib import Path

import pytest

from dispose_stages.batch.job import EXIT_DONE, EXIT_FAILED, EXIT_UNFINISHED, perform_shard
from dispose_stages.batch.ledger import Ledger
from dispose_stages.batch.runner import ARTIFACT_LOST
from dispose_stages.batch.stage import InterruptedUnitError
from dispose_stages.batch.stats import JobStats
from dispose_stages.batch.unit import Status
from dispose_stages.errors import ArtifactCorruptError, DisposeError, Reason, StoreError, UnitError
from tests.batch.test_stopping import Clock
from tests.toy_run import CountingStage, plan_run

SHARED = {"ingest": 9, "pose": 9, "correspondence": 4, "motion": 20, "sample": 20, "mux": 20}


def test_units_are_shared_between_pairs(tmp_path):
    """On 4 images x 5 videos, poses are computed 9 times, correspondence 4 times, the rest 20."""
    run = plan_run(tmp_path, 4, 5)
    run.perform_all()
    calls = {name: stage.calls.total() for name, stage in run.stages.items() if stage.calls}
    assert calls == SHARED
    kinds = [unit.params["kind"] for unit in run.plan.units["pose"].values()]
    assert (kinds.count("image"), kinds.count("video")) == (4, 5)


def test_networks_are_loaded_once_per_job(tmp_path):
    """A job with many units loads its networks once."""
    run = plan_run(tmp_path, 4, 5, shards={"minutes": 15})
    run.perform_all("ingest", "pose", "motion", "correspondence", "sample")
    assert len(run.plan.shards("sample")) > 1
    assert run.stages["sample"].loads == len(run.plan.shards("sample"))


def test_a_second_pass_computes_and_loads_nothing_and_leaves_ledgers_alone(tmp_path):
    """Finished units are found in the store, and the ledger's bytes stay the same."""
    run = plan_run(tmp_path)
    run.perform_all("ingest", "pose")
    before = [run.layout.ledger("pose", s).read_bytes() for s in run.plan.shards("pose")]
    calls, loads = run.stages["pose"].calls.total(), run.stages["pose"].loads
    run.perform_all("pose")
    after = [run.layout.ledger("pose", s).read_bytes() for s in run.plan.shards("pose")]
    assert (run.stages["pose"].calls.total(), run.stages["pose"].loads) == (calls, loads)
    assert before == after


def test_ledgers_say_nothing_of_time_and_place(tmp_path):
    """Two runs of the same plan in different folders write the same bytes."""
    texts = []
    for name in ("a", "b"):
        run = plan_run(tmp_path / name)
        run.perform_all("ingest", "pose")
        texts.append(sorted(e.digest for e in run.entries("pose").values()))
        text = run.layout.ledger("pose", next(iter(run.plan.shards("pose")))).read_text()
        assert str(tmp_path) not in text
        assert os.uname().nodename not in text
    assert texts[0] == texts[1]


def fail(reason, *names):
    def before(unit):
        if not names or unit.label in names:
            raise UnitError(reason, "made to fail")

    return before


def test_a_bad_unit_fails_alone_and_blocks_its_dependants(tmp_path):
    """One unreadable video leaves every pair without it untouched."""
    run = plan_run(tmp_path)
    run.stages["pose"] = CountingStage("pose", fail(Reason.NO_PERSON_REFERENCE, "v1.mp4"))
    run.perform_all()
    entries = run.entries("mux")
    assert [entries[f"i{i}_v0"].status for i in range(2)] == [Status.DONE] * 2
    for i in range(2):
        blocked = entries[f"i{i}_v1"]
        assert blocked.status is Status.BLOCKED
        assert blocked.reason is Reason.NO_PERSON_REFERENCE
        assert blocked.origin.startswith("pose/")
    assert run.stages["sample"].calls.total() == 2


def test_an_optional_input_that_failed_blocks_nothing(tmp_path):
    """The stage gets it with its reason, which enters the key; a required one blocks as before."""
    run = plan_run(tmp_path)
    run.stages["pose"] = CountingStage("pose", fail(Reason.PERSON_LOST, "v1.mp4"))
    given = {}
    motion = CountingStage("motion", lambda unit: given.update({unit.id: unit.inputs}))
    motion.optional = frozenset({"driving_pose"})
    run.stages["motion"] = motion
    run.perform_all("ingest", "pose", "motion")
    entries = run.entries("motion")
    assert {entry.status for entry in entries.values()} == {Status.DONE}
    lost = {unit for unit, inputs in given.items() if inputs["driving_pose"].reason}
    assert len(lost) == 2
    assert {given[unit]["driving_pose"].status for unit in lost} == {Status.FAILED}
    keys = {entries[unit].key for unit in lost}
    run.stages["pose"] = CountingStage("pose", fail(Reason.NO_FRAMES, "v1.mp4"))
    run.perform_all("pose", "motion")
    assert keys.isdisjoint(entry.key for entry in run.entries("motion").values())


def test_an_unexpected_exception_is_the_units_failure(tmp_path):
    """Any exception of one unit is recorded as internal and the others go on."""

    def before(unit):
        if unit.label == "v1.mp4":
            raise ZeroDivisionError("oops")

    run = plan_run(tmp_path)
    run.stages["pose"] = CountingStage("pose", before)
    run.perform_all("ingest", "pose")
    failed = [e for e in run.entries("pose").values() if e.status is Status.FAILED]
    assert [(e.reason, e.message) for e in failed] == [(Reason.INTERNAL, "ZeroDivisionError: oops")]


def test_out_of_memory_is_told_apart(tmp_path):
    """MemoryError (and torch's subclass of the name) has its own reason."""

    def before(unit):
        if unit.label == "v1.mp4":
            raise MemoryError

    run = plan_run(tmp_path)
    run.stages["pose"] = CountingStage("pose", before)
    run.perform_all("ingest", "pose")
    reasons = {e.reason for e in run.entries("pose").values()}
    assert reasons == {None, Reason.OUT_OF_MEMORY}


def test_a_shard_in_which_everything_fails_counts_as_a_bad_node_twice(tmp_path):
    """Two attempts fail without a ledger, the third delivers the failures."""

    def broken(unit):
        raise RuntimeError("GPU fell off the bus")

    run = plan_run(tmp_path)
    run.perform_all("ingest")
    run.stages["pose"] = CountingStage("pose", broken)
    (shard,) = run.plan.shards("pose")
    assert run.perform("pose", attempt=1) == [EXIT_FAILED]
    assert run.perform("pose", attempt=2) == [EXIT_FAILED]
    assert not run.layout.ledger("pose", shard).exists()
    assert run.perform("pose", attempt=3) == [EXIT_DONE]
    assert {e.reason for e in run.entries("pose").values()} == {Reason.INTERNAL}
    outcomes = [attempt["outcome"] for attempt in run.stats("pose")[0]["attempts"]]
    assert outcomes == ["bad_node", "bad_node", "given_up"]
    assert run.perform("pose") == [EXIT_FAILED], "a new round counts from the beginning"


def test_failures_of_the_data_are_no_bad_node(tmp_path):
    """A shard whose every unit has bad data is finished at the first attempt."""
    run = plan_run(tmp_path)
    run.stages["ingest"] = CountingStage("ingest", fail(Reason.MEDIA_UNREADABLE))
    assert run.perform("ingest") == [EXIT_DONE]


def test_networks_that_cannot_be_loaded_are_tried_once_and_no_unit_is_blamed(tmp_path):
    """A failing load ends the job with its traceback instead of failing unit after unit."""

    class Unloadable(CountingStage):
        def open(self, context):
            self.loads += 1
            raise RuntimeError("out of memory while loading")

    run = plan_run(tmp_path)
    run.perform_all("ingest")
    run.stages["pose"] = Unloadable("pose")
    with pytest.raises(RuntimeError, match="while loading") as caught:
        run.perform("pose")
    assert caught.value.__notes__ == ["while loading the networks of pose"]
    assert run.stages["pose"].loads == 1
    assert run.stats("pose")[0]["attempts"][0]["outcome"] == "error"


def test_wrong_set_up_ends_the_job(tmp_path):
    """A DisposeError that is no unit's fault reaches the caller and no ledger is written."""

    class Unset(CountingStage):
        def open(self, context):
            raise StoreError("nothing works")

    run = plan_run(tmp_path)
    run.stages["ingest"] = Unset("ingest")
    with pytest.raises(DisposeError, match="nothing works"):
        run.perform("ingest")
    assert not run.layout.ledger("ingest", next(iter(run.plan.shards("ingest")))).exists()


def test_a_corrupt_upstream_artifact_is_removed_and_made_again(tmp_path):
    """The units that read it wait, everything else is computed; the artifact is made again."""
    run = plan_run(tmp_path)
    run.perform_all("ingest", "pose")
    (lost,) = (i for i, u in run.plan.units["pose"].items() if u.label == "v1.mp4")
    key = run.entries("pose")[lost].key
    (path,) = (tmp_path / "store" / "pose").rglob(f"{key}.zarr.zip")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)

    class Reading(CountingStage):
        def read(self, unit):
            if not self.context.store.is_intact("pose", unit.inputs["driving_pose"].key):
                raise ArtifactCorruptError("wrong digest")
            return super().read(unit)

    run.stages["motion"] = Reading("motion")
    assert run.perform("motion") == [EXIT_UNFINISHED]
    (shard,) = run.plan.shards("motion")
    partial = Ledger.read(run.layout.partial("motion", shard)).units.values()
    waiting = [result for result in partial if result.status is Status.PENDING]
    assert [result.message for result in waiting] == [ARTIFACT_LOST] * 2
    assert sum(result.status is Status.DONE for result in partial) == 2
    assert not path.exists()
    run.perform_all("pose", "motion")
    assert {e.status for e in run.entries("motion").values()} == {Status.DONE}
    assert run.stages["pose"].calls[lost] == 2


def test_a_worker_that_looks_ahead_is_told_of_the_next_unit(tmp_path):
    """Of the one that is still to be computed, while another is; of none at the end."""

    class Foresighted(CountingStage):
        def __init__(self):
            super().__init__("pose")
            self.told = []

        def expect(self, unit):
            self.told.append((self.calls.total(), unit.id))

    run = plan_run(tmp_path)
    run.perform_all("ingest")
    (shard,) = run.plan.shards("pose")
    first, _, *rest = (unit.id for unit in run.plan.shards("pose")[shard])
    run.stages["pose"] = CountingStage("pose")
    run.perform_all("pose")
    for unit_id in (first, *rest):
        key = run.entries("pose")[unit_id].key
        (path,) = (tmp_path / "store" / "pose").rglob(f"{key}.zarr.zip")
        path.unlink()
    run.layout.ledger("pose", shard).unlink()
    run.stages["pose"] = stage = Foresighted()
    assert run.perform("pose") == [EXIT_DONE]
    assert stage.told == list(enumerate(rest))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_stops_after_the_unit_and_the_next_attempt_continues(tmp_path, number):
    """The unit under way is kept, the rest is left, and nothing is computed twice."""
    run = plan_run(tmp_path)
    run.stages["ingest"] = CountingStage("ingest")
    run.perform_all("ingest")
    run.stages["pose"] = stage = CountingStage("pose", lambda unit: os.kill(os.getpid(), number))
    (shard,) = run.plan.shards("pose")
    assert run.perform("pose") == [EXIT_UNFINISHED]
    assert not run.layout.ledger("pose", shard).exists()
    assert run.layout.partial("pose", shard).exists()
    assert stage.calls.total() == 1
    stage.before = lambda unit: None
    assert run.perform("pose") == [EXIT_DONE]
    assert set(stage.calls.values()) == {1}
    assert len(stage.calls) == 4
    assert not run.layout.partial("pose", shard).exists()
    assert not run.layout.running("pose", shard).exists()


def test_an_interrupted_unit_is_pending_not_failed(tmp_path):
    """A worker that saved its state and stopped leaves its unit for the next attempt."""

    def before(unit):
        os.kill(os.getpid(), signal.SIGTERM)
        raise InterruptedUnitError("step 3 of 25 is saved")

    run = plan_run(tmp_path)
    run.perform_all("ingest")
    run.stages["pose"] = CountingStage("pose", before)
    assert run.perform("pose") == [EXIT_UNFINISHED]
    (shard,) = run.plan.shards("pose")
    text = run.layout.partial("pose", shard).read_text()
    assert text.count('"status": "pending"') == 4
    assert "step 3 of 25 is saved" in text


def test_signal_handlers_are_put_back(tmp_path):
    """After a job the process handles signals as before."""
    before = signal.getsignal(signal.SIGTERM)
    plan_run(tmp_path).perform_all("ingest")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_job_stops_before_its_time_limit(tmp_path):
    """With a deadline behind it, a job computes nothing and says what is left."""
    run = plan_run(tmp_path)
    run.perform_all("ingest")
    assert run.perform("pose", deadline=1.0) == [EXIT_UNFINISHED]
    assert run.stages["pose"].calls.total() == 0


def test_a_unit_longer_than_a_job_is_done_by_several(tmp_path):
    """Each job ends before its time limit with a part of the unit done, and the next goes on."""
    run, clock, steps, begun = plan_run(tmp_path), Clock(), [], []
    run.perform_all("ingest")

    def long_unit(unit):
        begun.append(len(steps))
        while len(steps) < 10:
            if stage.context.stop_requested():
                raise InterruptedUnitError("its steps are kept")
            steps.append(unit.id)
            clock.time += 20

    run.stages["pose"] = stage = CountingStage("pose", long_unit)
    codes = [run.perform("pose", deadline=clock.time + 100, now=clock)[0] for _ in range(3)]
    assert codes == [EXIT_UNFINISHED, EXIT_UNFINISHED, EXIT_DONE]
    assert [first for first in begun if first < 10] == [0, 5]
    assert (len(steps), len(set(steps))) == (10, 1)


def test_a_unit_that_took_a_whole_job_keeps_no_other_from_beginning(tmp_path):
    """What is known to take long would not fit into a later job either."""
    run = plan_run(tmp_path)
    run.perform_all("ingest")
    (shard,) = run.plan.shards("pose")
    stats = run.layout.stats("pose", shard)
    run.stages["pose"] = stage = CountingStage(
        "pose", lambda unit: os.kill(os.getpid(), signal.SIGTERM)
    )
    assert run.perform("pose") == [EXIT_UNFINISHED]
    JobStats(seconds=dict.fromkeys(stage.calls, 99.0)).write(stats)
    assert run.perform("pose", deadline=1100.0, now=Clock()) == [EXIT_UNFINISHED]
    assert len(stage.calls) == 2


def test_statistics_add_up_over_attempts(tmp_path):
    """Seconds per unit of all attempts stay on file, with host, memory and outcome of each."""
    run = plan_run(tmp_path)
    run.perform_all("ingest")
    stage = run.stages["pose"] = CountingStage(
        "pose", lambda unit: os.kill(os.getpid(), signal.SIGTERM)
    )
    run.perform("pose", attempt=1)
    stage.before = lambda unit: None
    run.perform("pose", attempt=2)
    (stats,) = run.stats("pose")
    assert set(stats["seconds"]) == set(run.plan.units["pose"])
    first, second = stats["attempts"]
    assert (first["number"], first["outcome"], first["computed"]) == (1, "unfinished", 1)
    assert (second["number"], second["outcome"], second["found"]) == (2, "done", 1)
    assert second["computed"] == 3
    assert second["peak_memory"] > 1e6
    assert second["host"] == os.uname().nodename


def test_a_job_needs_a_plan_and_its_upstream(tmp_path):
    """Both are said in one line, not as a traceback."""
    with pytest.raises(StoreError, match="no planned run"):
        perform_shard("pose", tmp_path / "none", "0-of-1")
    run = plan_run(tmp_path)
    with pytest.raises(StoreError, match=r"ledger/ingest"):
        run.perform("pose")
    run.perform_all("ingest")
    run.layout.weights.unlink()
    with pytest.raises(StoreError, match="dispose fingerprint"):
        run.perform("pose")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EMFILE, "Too many open files"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
    ],
)
def test_a_fault_of_the_machine_ends_the_job_and_blames_no_unit(tmp_path, error, caplog):
    """In a shard of which a part is done: the rest waits, and the same call continues."""
    broken = []

    def before(unit):
        if unit.label == "v0.mp4" and not broken:
            broken.append(unit)
            raise error

    run = plan_run(tmp_path)
    run.perform_all("ingest")
    run.stages["pose"] = CountingStage("pose", before)
    assert run.perform("pose") == [EXIT_UNFINISHED]
    (shard,) = run.plan.shards("pose")
    assert not run.layout.ledger("pose", shard).exists()
    partial = Ledger.read(run.layout.partial("pose", shard)).units.values()
    assert {result.status for result in partial} <= {Status.DONE, Status.PENDING}
    assert "the same command continues" in caplog.text
    assert run.perform("pose") == [EXIT_DONE]
    assert {result.status for result in run.entries("pose").values()} == {Status.DONE}
    assert run.stats("pose")[0]["attempts"][0]["outcome"] == "unfinished"
    assert not list((tmp_path / "store").rglob("*.lease*"))


def test_a_full_disk_while_a_job_begins_is_no_traceback(tmp_path, monkeypatch, caplog):
    """Not even the job's lease can be written."""
    run = plan_run(tmp_path)

    def full(self, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        assert run.perform("ingest") == [EXIT_UNFINISHED]
    assert "free space" in caplog.text
    assert run.perform("ingest") == [EXIT_DONE]
