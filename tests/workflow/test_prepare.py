"""Working a run out: units, shards, forced and lost ones, and what is written when."""

import csv
import json
import os
import re
from pathlib import Path

import pytest

from dispose_stages.atomic import write_text
from dispose_stages.batch.control import Control
from dispose_stages.batch.ledger import Ledger, Shard
from dispose_stages.batch.outcomes import RowCounts, RunOutcomes
from dispose_stages.batch.prepare import Forced, prepare_run
from dispose_stages.batch.reruns import renew_stamps, reopen_failed
from dispose_stages.batch.run_files import pairs_text, write_stage_weights
from dispose_stages.batch.run_lock import RunBusyError
from dispose_stages.batch.summary import PlanSummary
from dispose_stages.batch.unit import Result, Status
from dispose_stages.config import STAGES
from dispose_stages.errors import ConfigError, ManifestError, Reason
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.shelf import Video, VideoShelf
from tests.workflow.conftest import REPOSITORY, write_manifest

IMAGES = [f"{letter}.png" for letter in "abcd"]
VIDEOS = [f"{letter}.mp4" for letter in "vwxyz"]


@pytest.fixture
def values(tmp_path):
    """Configuration of a run over a 4 x 5 manifest, sixteen jobs per stage of pairs."""
    manifest = write_manifest(tmp_path / "media", IMAGES, VIDEOS)
    return {
        "manifest": str(manifest),
        "results": str(tmp_path / "results"),
        "store": str(tmp_path / "store"),
        "models": {"bundle": "tiny", "root": str(tmp_path / "models")},
        "shards": {"minutes": 1, "seconds_per_unit": {"sample": 40, "mux": 20, "motion": 10}},
    }


def deliver(folder, pair_id, key):
    """A video and its sidecar."""
    shelf = VideoShelf(folder)
    staged = Video(shelf.staging(pair_id, key, ".mp4"), 5, 64, 96, 15.0)
    write_text(staged.path, "video")
    shelf.commit(pair_id, key, staged, {})


def finish(run, status=Status.DONE, **more):
    """Write the ledgers, artifacts and videos that a run's jobs would leave."""
    store = ArtifactStore(Path(run.config.store))
    for stage, shard in run.shards:
        units = {}
        for unit in run.plan.shards(stage)[shard]:
            key = unit.id if stage != "mux" else "ab" * 20
            units[unit.id] = Result(status, key=key, digest="d" * 40, **more)
            if stage == "mux":
                deliver(run.layout.videos, unit.id, key)
            else:
                write_text(store.path(stage, key), "")
        write_text(run.layout.ledger(stage, shard), Ledger(stage, shard, units).to_json())


def changed(before, after):
    """Jobs whose parameters differ between two plans."""
    return {
        f"{stage} {name}"
        for stage, shards in after.summary.shards.items()
        for name, shard in shards.items()
        if before.summary.shards[stage].get(name) != shard
    }


def test_units_are_shared_over_pairs(values):
    """Of 4 images x 5 videos, poses and features are computed once per file, not per pair."""
    run = prepare_run(values)
    counts = {stage: len(units) for stage, units in run.plan.units.items() if units}
    assert counts == {
        "ingest": 9,
        "pose": 9,
        "correspondence": 4,
        "motion": 20,
        "sample": 20,
        "mux": 20,
    }


def test_columns_that_decide_nothing_change_no_unit(values):
    """A caption reaches the pairs and the report; no job's file and no unit knows of it."""
    before = prepare_run(values)
    manifest = Path(values["manifest"])
    head, *rows = manifest.read_text().splitlines()
    lines = [f"{head},caption", *(f"{row},says {n}" for n, row in enumerate(rows))]
    manifest.write_text("\n".join(lines) + "\n")
    after = prepare_run(values)
    assert after.shards == before.shards
    assert changed(before, after) == set()
    assert after.summary.report != before.summary.report
    pairs = json.loads("".join(pairs_text(after.plan.rows)))["pairs"]
    assert [pair["extra"] for pair in pairs][:2] == [{"caption": "says 0"}, {"caption": "says 1"}]


def test_shards_of_pairs_nest(values):
    """A shard of a coarser stage of pairs reads only shards whose pairs it holds."""
    run = prepare_run(values)
    assert run.summary.counts["sample"] > run.summary.counts["mux"] > 1
    read = [name for s in run.summary.shards["mux"].values() for name in s.upstream["sample"]]
    assert sorted(read) == sorted(run.summary.shards["sample"])


def test_summary_survives_its_file(values):
    """What a cluster's job reads is what the main process worked out."""
    run = prepare_run(values)
    run.commit()
    run.release()
    assert PlanSummary.read(run.layout.summary) == run.summary
    for stage, shard in run.shards:
        file = Shard.read(run.layout.shard(stage, shard))
        assert len(file.units) == run.summary.shards[stage][shard].units
        assert file.upstream == run.summary.shards[stage][shard].upstream


def test_jobs_that_no_video_needs_are_left_out(values):
    """Without correspondence guidance nobody waits for correspondence."""
    stages = {stage for stage, _ in prepare_run(values).summary.needed()}
    assert "correspondence" in stages
    values["parameters"] = {"correspondence_guidance": False}
    assert {stage for stage, _ in prepare_run(values).summary.needed()} == stages - {
        "correspondence"
    }


def test_nothing_is_written_before_commit(values, tmp_path):
    """Working a run out leaves no trace, also where something is forced."""
    before = sorted(tmp_path.rglob("*"))
    prepare_run(values, Forced(frozenset({"sample"})))
    assert sorted(tmp_path.rglob("*")) == before


def test_second_commit_rewrites_nothing(values):
    """Files that say the same keep their times."""
    run = prepare_run(values)
    run.commit()
    run.release()
    plan = run.layout.summary.parent
    before = {p: p.stat().st_mtime_ns for p in plan.rglob("*.json")}
    again = prepare_run(values)
    again.commit()
    again.release()
    assert {p: p.stat().st_mtime_ns for p in plan.rglob("*.json")} == before


def test_new_row_changes_few_jobs(values, tmp_path):
    """One more pair of known files changes its own job per stage and no other."""
    rows = (tmp_path / "media/pairs.csv").read_text().splitlines()
    (tmp_path / "media/pairs.csv").write_text("\n".join(rows[:-1]) + "\n")
    before = prepare_run(values)
    before.commit()
    before.release()
    (tmp_path / "media/pairs.csv").write_text("\n".join(rows) + "\n")
    jobs = changed(before, prepare_run(values))
    assert sorted(job.split()[0] for job in jobs) == ["motion", "mux", "sample"]


def test_forced_stage_is_stale_once(values):
    """Forcing renews the stage's token; it stays until it is forced again."""
    first = prepare_run(values)
    first.commit()
    first.release()
    forced = prepare_run(values, Forced(frozenset({"sample"})))
    assert {job.split()[0] for job in changed(first, forced)} == {"sample"}
    forced.commit()
    forced.release()
    assert changed(forced, prepare_run(values)) == set()
    again = prepare_run(values, Forced(frozenset({"sample"})))
    assert {job.split()[0] for job in changed(forced, again)} == {"sample"}


def test_forced_ledger_is_stale_alone(values):
    """`-R <ledger>` renews the units of that shard only."""
    first = prepare_run(values)
    shard = min(first.summary.shards["sample"])
    path = str(first.layout.ledger("sample", shard))
    forced = prepare_run(values, Forced.of([path, "all"]))
    assert changed(first, forced) == {f"sample {shard}"}


def test_forcing_everything_renews_every_stage(values):
    """`--forceall` leaves no stage as it was."""
    first = prepare_run(values)
    stages = {
        job.split()[0]
        for job in changed(first, prepare_run(values, Forced.of([], everything=True)))
    }
    assert stages == {"ingest", "pose", "motion", "correspondence", "sample", "mux"}


def test_chosen_pairs_are_forced(values):
    """`--force sample --pairs P` renews the units of P; forcing the stage later renews all."""
    first = prepare_run(values)
    first.commit()
    first.release()
    pair = first.plan.rows[3]
    renew_stamps(first.layout, "sample", [pair.pair_id])
    second = prepare_run(values)
    assert changed(first, second) == {
        f"sample {first.plan.shard_of('sample', pair.units['sample'])}"
    }
    renew_stamps(first.layout, "pose", [pair.pair_id])
    assert len(Control.read(first.layout.control).stamps["pose"]) == 2
    renew_stamps(first.layout, "sample")
    assert changed(first, prepare_run(values)) > changed(first, second)
    with pytest.raises(ManifestError, match="nobody"):
        renew_stamps(first.layout, "sample", ["nobody"])


def test_lost_results_reopen_their_shards(values):
    """A deleted artifact or video re-opens its shard, persistently once the run starts."""
    run = prepare_run(values)
    run.commit()
    run.release()
    finish(run)
    assert changed(run, prepare_run(values)) == set()
    pair = run.plan.rows[0]
    store = ArtifactStore(Path(run.config.store))
    store.path("motion", pair.units["motion"]).unlink()
    (run.layout.videos / f"{pair.pair_id}.mp4").unlink()
    reopened = prepare_run(values)
    assert changed(run, reopened) == {
        f"{stage} {run.plan.shard_of(stage, pair.units[stage])}" for stage in ("motion", "mux")
    }
    assert not Control.read(run.layout.control).epochs
    reopened.commit()
    reopened.release()
    assert len(Control.read(run.layout.control).epochs) == 2
    finish(reopened)
    assert changed(reopened, prepare_run(values)) == set()


def test_ledger_of_another_plan_is_stale(values):
    """Ledgers that cannot be read or speak of other units do not count."""
    run = prepare_run(values)
    finish(run)
    sample, mux = (min(run.summary.shards[stage]) for stage in ("sample", "mux"))
    write_text(run.layout.ledger("sample", sample), Ledger("sample", sample, {}).to_json())
    write_text(run.layout.ledger("mux", mux), "{")
    assert set(prepare_run(values).stale) == {("sample", sample), ("mux", mux)}


def test_shards_that_are_gone_are_forgotten(values, tmp_path):
    """Files of former shards are removed, so that their units are not counted."""
    run = prepare_run(values)
    run.commit()
    run.release()
    finish(run)
    write_manifest(tmp_path / "media", IMAGES[:1], VIDEOS[:1])
    smaller = prepare_run(values)
    smaller.commit()
    smaller.release()
    for folder in ("plan", "ledger"):
        left = {p.stem for p in (run.layout.root / folder / "sample").iterdir()}
        assert left <= set(smaller.summary.shards["sample"])


def test_touched_media_reopen_ingest_only(values, tmp_path):
    """A changed time has the file looked at again; all else depends on what is found."""
    before = prepare_run(values)
    os.utime(tmp_path / "media/a.png", (1, 1))
    assert {job.split()[0] for job in changed(before, prepare_run(values))} == {"ingest"}


def test_replaced_weights_change_the_signature(values, tmp_path):
    """Another file below models.root has the digests taken anew."""
    before = prepare_run(values).summary.weights
    (tmp_path / "models").mkdir()
    (tmp_path / "models/x.safetensors").write_text("weights")
    assert prepare_run(values).summary.weights != before


def test_rejects_are_written(values, tmp_path):
    """Rows with faults are set aside with line, column and reason; the others are planned."""
    path = tmp_path / "media/pairs.csv"
    path.write_text(path.read_text() + "gone.png,v.mp4\n")
    run = prepare_run(values)
    run.commit()
    run.release()
    (row,) = csv.DictReader(run.layout.rejects.read_text().splitlines())
    assert (row["line"], row["column"]) == ("22", "reference_image")
    assert "gone.png" in row["reason"]
    assert run.summary.pairs == 20
    assert len(json.loads(run.layout.pairs.read_text())["pairs"]) == 20
    assert "line 22, reference_image" in "\n".join(run.reject_lines())


def test_manifest_without_good_rows_is_refused(values, tmp_path):
    """A run of nothing is an error that says why."""
    (tmp_path / "media/pairs.csv").write_text("reference_image,driving_video\nq.png,v.mp4\n")
    with pytest.raises(ManifestError, match=r"line 2, reference_image: no such file"):
        prepare_run(values)


def test_wrong_configuration_names_every_key(values):
    """All wrong keys are named at once."""
    with pytest.raises(ConfigError, match=r"(?s)parameters\.fps.*typo"):
        prepare_run({**values, "parameters": {"fps": 0}, "typo": 1})


def test_second_process_is_refused(values):
    """Two processes cannot work on one run; the lock goes with its holder."""
    first, second = prepare_run(values), prepare_run(values)
    first.commit()
    with pytest.raises(RunBusyError, match=str(os.getpid())):
        second.commit()
    first.release()
    second.commit()
    second.release()


def test_failed_units_are_reopened(values):
    """`retry` opens the shards of failures with the given reasons."""
    run = prepare_run(values)
    run.commit()
    run.release()
    finish(run, Status.FAILED, reason=Reason.OUT_OF_MEMORY)
    assert reopen_failed(run.layout, ["sample"], [Reason.NUMERIC]) == {}
    assert changed(run, prepare_run(values)) == set()
    found = reopen_failed(run.layout, ["sample"], [Reason.OUT_OF_MEMORY])
    assert sum(map(len, found.values())) == 20
    assert changed(run, prepare_run(values)) == {f"sample {shard}" for _, shard in found}


def test_delivery_counts_pairs(values):
    """The result of a run is all, some or none of its rows."""
    run = prepare_run(values)
    run.commit()
    run.release()
    assert RunOutcomes.read(run.layout.root).counts() == RowCounts(pending=20)
    finish(run)
    assert RunOutcomes.read(run.layout.root).counts().extent == "all"
    shard = min(run.summary.shards["mux"])
    run.layout.ledger("mux", shard).unlink()
    some = RunOutcomes.read(run.layout.root).counts()
    assert some.extent == "some"
    assert some.pending == run.summary.shards["mux"][shard].units
    finish(run, Status.BLOCKED, reason=Reason.OUT_OF_MEMORY)
    none = RunOutcomes.read(run.layout.root)
    assert none.counts().extent == "none"
    assert {reason: len(failed) for reason, failed in none.failures().items()} == {"oom": 20}


@pytest.mark.parametrize("content", ["{", '{"format": "dispose-control"}', "[" * 100_000])
def test_a_damaged_control_file_is_made_anew(values, content):
    """It is said; the stamps of forced re-runs are those of the last plan, so nothing is redone."""
    run = prepare_run(values, Forced(frozenset({"sample"})))
    run.commit()
    run.release()
    write_text(run.layout.control, content)
    again = prepare_run(values)
    assert "control.json" in next(again.reject_lines())
    assert changed(run, again) == set()
    again.commit()
    again.release()
    assert Control.read(run.layout.control).stamps["sample"]


@pytest.mark.parametrize(
    "harm",
    [
        lambda videos, pair_id: (videos / f"{pair_id}.mp4").write_text("longer than it was"),
        lambda videos, pair_id: (videos / f"{pair_id}.json").unlink(),
        lambda videos, pair_id: (videos / f"{pair_id}.json").write_text("{"),
        lambda videos, pair_id: deliver(videos, pair_id, "cd" * 20),
    ],
)
def test_a_video_that_is_not_what_was_delivered_reopens_its_shard(values, harm):
    """Another size, without a sidecar of its own, or made under another key."""
    run = prepare_run(values)
    run.commit()
    run.release()
    finish(run)
    pair_id = run.plan.rows[0].pair_id
    harm(run.layout.videos, pair_id)
    assert changed(run, prepare_run(values)) == {f"mux {run.plan.shard_of('mux', pair_id)}"}


@pytest.mark.parametrize("harm", ["", "{", '{"stages": {"pose": "another"}}'])
def test_damaged_digests_of_weights_are_made_anew(values, harm):
    """A file that cannot be trusted goes, so that its rule writes it again."""
    run = prepare_run(values)
    write_stage_weights(run.layout, "tiny", {"pose": "d"})
    run.commit()
    run.release()
    assert run.layout.weights.exists()
    text = run.layout.weights.read_text()
    write_text(run.layout.weights, text.replace('"d"', '"e"') if "another" in harm else harm)
    run.commit()
    run.release()
    assert not run.layout.weights.exists()


@pytest.mark.parametrize("stage", STAGES)
def test_job_and_plan_agree_on_the_revision(stage):
    """A stage's code takes its revision from the package, where planning reads it without torch."""
    source = (REPOSITORY / f"dispose_stages/{stage}/stage.py").read_text()
    assert re.search(rf"from dispose_stages\.{stage}\.unit import REVISION\b", source)
    assert re.search(rf"STAGE = Stage\(\s*\"{stage}\",\s*REVISION,", source)


def test_what_was_asked_while_a_run_was_planned_is_not_forgotten(values):
    """`dispose retry` between planning and start would be overwritten; the command says so."""
    planned = prepare_run(values)
    planned.commit()
    planned.release()
    late = prepare_run(values)
    renew_stamps(late.layout, "sample")
    with pytest.raises(RunBusyError, match="same command takes it up"):
        late.commit()
    again = prepare_run(values)
    again.commit()
    again.release()
    assert again.control.stamps["sample"]
