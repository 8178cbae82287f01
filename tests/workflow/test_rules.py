"""The rules, with real Snakemake and jobs that compute digests instead of videos."""

import os

from tests.workflow.conftest import write_manifest

EVERYTHING = [
    *("correspondence a.png @128", "correspondence b.png @128"),
    *("ingest a.png", "ingest b.png", "ingest x.mp4", "ingest y.mp4"),
    *("motion a.png + x.mp4", "motion a.png + y.mp4"),
    *("motion b.png + x.mp4", "motion b.png + y.mp4"),
    *("pose a.png @128", "pose b.png @128", "pose x.mp4", "pose y.mp4"),
    *("sample a.png + x.mp4", "sample a.png + y.mp4"),
    *("sample b.png + x.mp4", "sample b.png + y.mp4"),
]


def without_mux(calls):
    """Calls but those of `mux`, whose labels are derived ids."""
    return [call for call in calls if not call.startswith("mux ")]


def count(calls, stage):
    """How many units of a stage were computed."""
    return sum(call.startswith(f"{stage} ") for call in calls)


def test_run_computes_everything_once_and_then_nothing(workspace):
    """A run computes every unit once, says what came out, and a second run finds nothing to do."""
    before = workspace.files()
    output = workspace.snakemake("-n")
    assert "sample shard 0-of-1: 4 clips" in output
    assert workspace.files() == [*sorted([*before, workspace.root / "config.yaml"])]
    output = workspace.snakemake()
    assert "4 of 4 rows delivered" in output
    assert "results/test/videos" in output
    calls = workspace.calls()
    assert without_mux(calls) == EVERYTHING
    assert count(calls, "mux") == 4
    assert "Nothing to be done" in workspace.snakemake()
    assert workspace.calls() == []


def test_lost_artifact_alone_is_computed_again(finished):
    """Of a deleted artifact, only that unit is computed again if its content comes out the same."""
    artifact = next((finished.root / "store/sample").rglob("*.zarr.zip"))
    artifact.unlink()
    video = min((finished.root / "results/test/videos").glob("*.mp4"))
    assert "sample shard" in finished.snakemake("-n")
    finished.snakemake()
    assert [call.split()[0] for call in finished.calls()] == ["sample"]
    video.unlink()
    finished.snakemake()
    assert finished.calls() == [f"mux {video.stem}"]
    assert "Nothing to be done" in finished.snakemake()


def test_forced_stage_is_computed_again_and_nothing_that_hangs_on_equal_content(finished):
    """`-R sample` samples all again; equal latents leave the videos alone; it happens once."""
    output = finished.snakemake("-n", "-R", "sample")
    assert "sample shard" in output
    finished.snakemake("-R", "sample")
    calls = finished.calls()
    assert count(calls, "sample") == len(calls) == 4
    assert "Nothing to be done" in finished.snakemake()
    assert finished.calls() == []


def test_forced_stage_that_was_killed_goes_on_without_the_flag(finished):
    """A forced re-run that broke off is finished by the plain command."""
    finished.environment["FAKE_BREAK"] = "sample"
    finished.snakemake("-R", "sample", "--retries", "0", check=False)
    assert finished.calls() == []
    del finished.environment["FAKE_BREAK"]
    finished.snakemake()
    assert count(finished.calls(), "sample") == 4


def test_until_stops_after_a_stage(workspace):
    """`--until motion` computes motion and what it needs."""
    workspace.snakemake("--until", "motion")
    stages = {call.split()[0] for call in workspace.calls()}
    assert stages == {"ingest", "pose", "motion"}
    workspace.snakemake()
    stages = {call.split()[0] for call in workspace.calls()}
    assert stages == {"correspondence", "sample", "mux"}


def test_touched_media_are_looked_at_again_and_changed_media_recomputed(finished):
    """A new time re-probes the file only; new content recomputes what was made from it."""
    media = finished.root / "media/a.png"
    os.utime(media, (2_000_000_000, 2_000_000_000))
    finished.snakemake()
    assert finished.calls() == ["ingest a.png"]
    media.write_text("another picture")
    finished.snakemake()
    calls = finished.calls()
    assert [call for call in without_mux(calls) if "a.png" not in call] == []
    assert count(calls, "pose") == count(calls, "correspondence") == 1
    assert count(calls, "motion") == count(calls, "sample") == count(calls, "mux") == 2


def test_another_parameter_recomputes_only_the_stages_that_read_it(finished):
    """Another guidance scale samples again, another frame rate writes the videos again."""
    finished.snakemake(parameters={"resolution": 128, "guidance_max": 3.0})
    assert {call.split()[0] for call in finished.calls()} == {"sample", "mux"}
    finished.snakemake(parameters={"resolution": 128, "guidance_max": 3.0, "fps": 24})
    assert {call.split()[0] for call in finished.calls()} == {"mux"}


def test_new_row_computes_only_its_own_units_even_without_snakemakes_memory(finished):
    """Rows that are added later are computed, also if the folder .snakemake was deleted."""
    (finished.root / ".snakemake").rename(finished.root / "forgotten.snakemake")
    images, videos = ["a.png", "b.png", "c.png"], ["x.mp4", "y.mp4"]
    write_manifest(finished.root / "media", images, videos)
    finished.snakemake()
    calls = finished.calls()
    assert [call for call in without_mux(calls) if "c.png" not in call] == []
    assert count(calls, "sample") == count(calls, "mux") == 2


def test_failed_unit_fails_alone(workspace):
    """One failed clip costs one video; the run succeeds and says so."""
    workspace.environment["FAKE_FAIL"] = "sample:a.png + y.mp4"
    output = workspace.snakemake()
    assert "3 of 4 rows delivered" in output
    assert "1 failed: not_finite" in output


def test_broken_job_leaves_others_alone_and_the_next_run_goes_on(workspace):
    """A job that crashes ends the run with an error; the next run does only what is left."""
    workspace.environment["FAKE_BREAK"] = "motion"
    output = workspace.snakemake("--retries", "0", check=False)
    assert "0 of 4 rows delivered" in output
    assert "motion" in output
    assert count(workspace.calls(), "correspondence") == 2  # --keep-going
    del workspace.environment["FAKE_BREAK"]
    workspace.snakemake()
    assert {call.split()[0] for call in workspace.calls()} == {"motion", "sample", "mux"}


def test_missing_weights_stop_the_run_before_any_job(workspace):
    """All missing files are named at once, nothing is computed, and a dry run still works."""
    for path in workspace.root.glob("models/tiny/**/*.onnx"):
        path.unlink()
    assert "sample shard" in workspace.snakemake("-n")
    output = workspace.snakemake(check=False)
    assert output.count(".onnx: missing") == 2
    assert workspace.calls() == []


def test_bad_rows_are_set_aside_and_the_rest_runs(workspace):
    """Rows with faults are listed with line, column and reason, and kept in rejects.csv."""
    path = workspace.root / "media/pairs.csv"
    path.write_text(path.read_text() + "nowhere.png,x.mp4\n")
    output = workspace.snakemake()
    assert "4 of 5 rows delivered, 1 rejected" in output
    assert "line 6, reference_image: no such file" in output
    path = workspace.root / "results/test/rejects.csv"
    rejects = path.read_text()
    assert ",reference_image," in rejects.splitlines()[1]
    workspace.calls()
    path.unlink()
    path.with_name("failures.csv").unlink()
    workspace.snakemake()
    assert path.read_text() == rejects
    assert path.with_name("failures.csv").exists()
    assert workspace.calls() == []


def test_wrong_configuration_is_refused_with_its_key(workspace):
    """A wrong value is refused before anything is planned."""
    output = workspace.snakemake("-n", check=False, parameters={"fps": "many"})
    assert "fps" in output
    assert "Missing output files" not in output


def test_one_job_per_gpu_at_a_time(workspace):
    """On a machine without a scheduler, jobs with networks queue for its GPUs."""
    workspace.environment["CUDA_VISIBLE_DEVICES"] = "0"
    assert 'gpu=Resource("gpu", 1)' in workspace.snakemake("--until", "weights")
    workspace.environment["CUDA_VISIBLE_DEVICES"] = ""
    output = workspace.snakemake("--until", "ingest", "--resources", "gpu=3")
    assert 'gpu=Resource("gpu", 3)' in output
