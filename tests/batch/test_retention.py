"""Artifacts that may be gone, and what still holds when they are."""

import errno
import os
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from dispose_stages.batch.forecast import computes, forecast
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.needed import other_runs, runs_beside
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.prepare import Forced, prepare_run
from dispose_stages.batch.strangers import move_away
from dispose_stages.batch.verify import Verification
from dispose_stages.cli import cli
from dispose_stages.config import load_config
from dispose_stages.errors import ConfigError, DisposeError
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.freed import free_artifacts, freed_heads, provenance
from tests.batch.whole_run import calls, compute, settings


@pytest.fixture
def values(tmp_path, monkeypatch):
    """A run of four pairs that keeps its videos only."""
    monkeypatch.chdir(tmp_path)
    return settings(tmp_path, store={"path": str(tmp_path / "store"), "keep": "videos"})


def dispose(*arguments):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def artifacts(values, stage="*"):
    return sorted(Path(values["store"]["path"]).glob(f"{stage}/*/*.zarr.zip"))


def remove(values, stage="*"):
    """As somebody would by hand, and as `gc` does after noting what they were."""
    for path in artifacts(values, stage):
        path.unlink()


def again(values, forced=None):
    """Stages and labels of what the next command computes."""
    calls()
    compute(values, forced)
    return calls()


def test_freed_artifacts_of_delivered_pairs_are_not_missed(values):
    """Nothing is planned, nothing is computed, everything stays delivered."""
    done = compute(values)
    remove(values)
    after = prepare_run(values)
    assert after.control == done.control
    assert not any(computes(why) for units in forecast(after).values() for why in units.values())
    assert again(values) == []
    assert str(RunOutcomes.read(done.layout.root).counts()) == "4 of 4 rows delivered"


def test_a_store_that_keeps_all_makes_them_again(values, tmp_path):
    """The default, and what an earlier `keep: videos` has freed comes back."""
    compute(values)
    remove(values)
    compute(values)
    kept = values | {"store": str(tmp_path / "store")}
    assert len(artifacts(values)) == 0
    assert [line.split()[0] for line in again(kept)] == [
        *(["correspondence"] * 2),
        *(["motion"] * 4),
        *(["pose"] * 4),
        *(["sample"] * 4),
    ]


def test_single_stages_are_kept(values):
    """Of a list, the others' artifacts may be gone."""
    values["store"]["keep"] = ["pose", "sample"]
    compute(values)
    remove(values, "motion")
    remove(values, "correspondence")
    assert again(values) == []
    remove(values, "pose")
    assert [line.split()[0] for line in again(values)] == ["pose"] * 4


def test_a_lost_video_needs_what_it_is_made_from_and_only_that(values):
    """One pair's chain is computed; the other three stay as they are."""
    done = compute(values)
    remove(values)
    next(done.layout.videos.glob("*.mp4")).unlink()
    computed = [line.split()[0] for line in again(values)]
    assert computed == ["correspondence", "motion", "mux", "pose", "pose", "sample"]


def test_a_new_row_does_not_bring_freed_artifacts_back(values, tmp_path):
    """Its shards hold released units too; only what the new pairs read is computed."""
    compute(values)
    remove(values)
    more = settings(tmp_path, ["a.png", "b.png", "c.png"], store=values["store"])
    computed = [line.split()[0] for line in again(more)]
    # Two videos' poses are read again by the new pairs, so they are made again.
    assert computed.count("sample") == computed.count("motion") == computed.count("mux") == 2
    assert computed.count("pose") == 3
    assert computed.count("correspondence") == 1
    assert again(more) == []


def test_the_notes_outlive_a_job_that_died(values, tmp_path):
    """Snakemake removes a ledger before its job begins; what it said is still known."""
    done = compute(values)
    remove(values)
    compute(values)
    for path in done.layout.ledger("sample", "x").parent.glob("*.json"):
        path.unlink()
    assert [line for line in again(values) if not line.startswith("ingest")] == []


def test_a_parameter_reads_what_it_needs(values):
    """Sampling anew needs poses' heirs again, and mux follows; other runs' keys are the same."""
    compute(values)
    remove(values)
    after = values | {"parameters": {"guidance_max": 3.0}}
    stages = {line.split()[0] for line in again(after)}
    assert stages == {"pose", "motion", "correspondence", "sample", "mux"}


def test_verify_does_not_miss_what_may_be_gone(values):
    """But damage in what is there is found."""
    done = compute(values)
    remove(values, "pose")
    damages = list(Verification(done.layout, repair=False).damages())
    assert all("pose" not in str(path) for path, _ in damages)


class Interrupted(BaseException):
    """A kill."""


@pytest.mark.parametrize("cut", [0, 1, 5, 100])
def test_gc_frees_intermediates_and_may_be_killed_at_any_moment(values, monkeypatch, cut):
    """Looks first; then deletes; cut short anywhere, nothing delivered is lost and it goes on."""
    done = compute(values)
    real = artifacts(values)
    command = ("gc", done.layout.root, "--intermediates", "--older-than", "0")
    shown = dispose(*command).output
    assert re.search(r"sample +4 files", shown)
    assert "14 files" in shown
    assert artifacts(values) == real
    removed, remove_one = [], ArtifactStore.remove

    def dying(store, stage, key):
        if len(removed) == cut:
            raise Interrupted
        removed.append(key)
        remove_one(store, stage, key)

    with monkeypatch.context() as patch:
        patch.setattr(ArtifactStore, "remove", dying)
        if cut < len(real):
            with pytest.raises(Interrupted):
                dispose(*command, "--delete")
        else:
            dispose(*command, "--delete")
    assert again(values) == []
    assert str(RunOutcomes.read(done.layout.root).counts()) == "4 of 4 rows delivered"
    dispose(*command, "--delete")
    assert artifacts(values) == []
    store = ArtifactStore(Path(values["store"]["path"]))
    noted = {key for stage in ("pose", "sample") for key, _ in freed_heads(store, stage)}
    assert len(noted) == 8


def test_freed_artifacts_tell_what_they_were_made_from(values):
    """So that videos name their sources, and a takedown finds them, as before."""
    compute(values)
    store = ArtifactStore(Path(values["store"]["path"]))
    path = artifacts(values, "motion")[0]
    key = path.name.partition(".")[0]
    before = provenance(store, "motion", key)
    assert set(before["upstream"]) >= {"reference_pose", "driving_pose"}
    assert list(free_artifacts(store, "motion", [key, "ac" * 20])) == [key]
    assert not path.exists()
    assert provenance(store, "motion", key) == before
    with pytest.raises(DisposeError):
        provenance(store, "motion", "cd" * 20)


def test_gc_leaves_alone_what_undone_units_read(values, tmp_path):
    """While a pair is not delivered, its chain stays; age and other runs' wishes count too."""
    done = compute(values)
    next(done.layout.videos.glob("*.mp4")).unlink()
    prepared = prepare_run(values)
    prepared.commit()
    prepared.release()
    command = ("gc", done.layout.root, "--intermediates", "--delete")
    assert "0 files" in dispose(*command, "--older-than", "1d").output
    dispose(*command, "--older-than", "0")
    assert len(artifacts(values, "sample")) == 1
    assert artifacts(values, "pose") == []
    assert [line.split()[0] for line in again(values)] == ["mux"]


def test_a_neighbour_that_keeps_all_is_respected(values, tmp_path):
    """Two runs share a store; what one keeps the other's gc does not free."""
    compute(values)
    other = settings(tmp_path, ["a.png"], ["x.mp4"], run="other", store=str(tmp_path / "store"))
    compute(other)
    root = load_config(values).run_dir
    settings(tmp_path)  # the first run's manifest again
    dispose("gc", root, "--intermediates", "--delete", "--older-than", "0")
    kept = {stage: len(artifacts(values, stage)) for stage in ("pose", "motion", "sample")}
    assert kept == {"pose": 2, "motion": 1, "sample": 1}


@pytest.mark.parametrize("age", ["14", "soon", "3w", "-1d"])
def test_ages(values, age):
    """Days, hours and minutes; a number alone are hours; anything else is refused."""
    done = compute(values)
    result = CliRunner().invoke(cli, ["gc", str(done.layout.root), "--older-than", age])
    assert (result.exit_code == 0) == (age == "14")


@pytest.mark.parametrize(
    "store", [{"keep": "nothing"}, {"keep": ["mux"]}, {"max_bytes": 0}, {"max_bytes": "1 TB"}]
)
def test_wrong_wishes_of_a_store_are_named(values, store):
    """Before anything is planned."""
    with pytest.raises(ConfigError, match=r"store\.(keep|max_bytes)"):
        load_config(values | {"store": store})


def rename_a_row(tmp_path, values):
    manifest = Path(values["manifest"])
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(lines[:-1]) + "\n")


def test_videos_of_removed_rows_are_strangers(values, tmp_path):
    """Planning says so, `verify` finds them, `gc --videos` moves them; they are never deleted."""
    done = compute(values)
    rename_a_row(tmp_path, values)
    planned = prepare_run(values)
    (stranger,) = planned.strangers
    assert any("belong to no row" in line for line in planned.reject_lines())
    planned.commit()
    planned.release()
    damages = list(Verification(done.layout, repair=False).damages())
    assert [path.name for path, what in damages if "no row" in what] == [stranger]
    command = ("gc", done.layout.root, "--videos")
    assert "1 videos can be moved" in dispose(*command).output
    assert len(list(done.layout.videos.glob("*.mp4"))) == 4
    content = (done.layout.videos / f"{stranger}.mp4").read_bytes()
    dispose(*command, "--delete")
    assert (done.layout.removed / f"{stranger}.mp4").read_bytes() == content
    assert (done.layout.removed / f"{stranger}.json").exists()
    assert prepare_run(values).strangers == ()
    settings(tmp_path)
    assert [line.split()[0] for line in again(values)] == ["mux"]
    rename_a_row(tmp_path, values)
    again(values)
    dispose(*command, "--delete")
    assert (done.layout.removed / f"{stranger}~2.mp4").exists()


def test_a_move_that_was_cut_short_is_ended_by_the_next(values, tmp_path, monkeypatch):
    """Killed between video and sidecar, the rest is still seen as a stranger's."""
    done = compute(values)
    rename_a_row(tmp_path, values)
    planned = prepare_run(values)
    planned.commit()
    planned.release()
    (stranger,) = planned.strangers
    move, moved = shutil.move, []

    def dying(path, target):
        if path.parent == done.layout.videos:
            if moved:
                raise Interrupted
            moved.append(path)
        return move(path, target)

    command = ("gc", done.layout.root, "--videos", "--delete")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "move", dying)
        with pytest.raises(Interrupted):
            dispose(*command)
    dispose(*command)
    names = sorted(path.name for path in done.layout.removed.iterdir())
    assert names == [f"{stranger}.json", f"{stranger}.mp4"]


def test_a_store_that_will_be_too_large_is_warned_of(values, tmp_path):
    """Before anything runs, with both sizes and the remedy."""
    compute(values)
    os.truncate(artifacts(values)[0], 5_000_000)
    from dispose_stages.cli.forecast import forecast_lines

    config = load_config(values | {"store": values["store"] | {"max_bytes": 5_100_000}})
    (line,) = (line for line in forecast_lines(config, Forced()) if "store.max_bytes" in line)
    assert "dispose gc --intermediates" in line
    roomy = load_config(values | {"store": values["store"] | {"max_bytes": 10**9}})
    assert not any("store.max_bytes" in line for line in forecast_lines(roomy, Forced()))


def test_videos_on_another_disk_are_moved_away(tmp_path, monkeypatch):
    """``videos`` may be a link; a rename across file systems is refused by the system."""
    layout = RunLayout(tmp_path)
    layout.videos.mkdir()
    (layout.videos / "old.frames").mkdir()
    for name in ("old.mp4", "old.frames/0.png", "old.json"):
        (layout.videos / name).write_text(name)

    def refuse(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    moved = move_away(layout, ["old"])
    assert {path.name for path in moved} == {"old.mp4", "old.frames", "old.json"}
    assert (layout.removed / "old.frames/0.png").read_text() == "old.frames/0.png"
    assert not list(layout.videos.iterdir())


def test_a_run_that_is_closed_to_us_is_a_run(tmp_path, monkeypatch):
    """Planning learns nothing of it; whoever frees artifacts must know that it is there."""
    closed, own = RunLayout(tmp_path / "closed"), RunLayout(tmp_path / "own")
    for each in (closed, own):
        each.summary.parent.mkdir(parents=True)
        each.summary.write_text("{}")
    look = Path.stat

    def stat(path, **options):
        if path.is_relative_to(closed.root / "plan"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    assert other_runs(own) == []
    assert {run.root.name for run in runs_beside((own.root,))} == {"closed", "own"}
