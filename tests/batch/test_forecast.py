"""What a command would compute, and why it says so."""

from collections import Counter
from pathlib import Path

import pytest

from dispose_stages.atomic import write_text
from dispose_stages.batch import forecast as module
from dispose_stages.batch import plan
from dispose_stages.batch.estimate import gpu_hours, stage_forecasts
from dispose_stages.batch.forecast import computes, forecast
from dispose_stages.batch.prepare import Forced, prepare_run
from dispose_stages.batch.run_files import write_stage_weights
from dispose_stages.batch.stats import Attempt, JobStats
from dispose_stages.config import STAGES
from tests.batch.whole_run import calls, compute, settings


@pytest.fixture
def values(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return settings(tmp_path)


def whys(values, forced=None):
    """Stage to reasons and numbers, where anything is computed."""
    reasons = forecast(prepare_run(values, forced))
    found = {stage: Counter(filter(computes, reasons[stage].values())) for stage in STAGES}
    return {stage: why for stage, why in found.items() if why}


def foretold(values, forced=None):
    """Number of units per stage that would be computed."""
    return {stage: sum(why.values()) for stage, why in whys(values, forced).items()}


def computed(values, forced=None):
    """Number of units per stage that are."""
    calls()
    compute(values, forced)
    stages = [line.split()[0] for line in calls()]
    return {stage: stages.count(stage) for stage in STAGES if stage in stages}


def test_everything_of_a_new_run_is_new(values):
    """Four files, six poses and features, four pairs."""
    assert whys(values) == {
        "ingest": {"new": 4},
        "pose": {"new": 4},
        "motion": {"new": 4},
        "correspondence": {"new": 2},
        "sample": {"new": 4},
        "mux": {"new": 4},
    }


def test_nothing_of_a_finished_run_is_computed(values):
    """All of it is found."""
    compute(values)
    assert whys(values) == {}


def test_a_parameter_is_named(values):
    """And what it does not enter stays."""
    compute(values)
    after = {**values, "parameters": {"guidance_max": 3.0}}
    assert whys(after) == {
        "sample": {"parameter guidance_max": 4},
        "mux": {"parameter guidance_max": 4},
    }
    assert foretold(after) == computed(after)


def test_a_new_row_is_new_and_shares_what_is_there(values, tmp_path):
    """One more image with the two videos."""
    compute(values)
    after = settings(tmp_path, ["a.png", "b.png", "c.png"])
    said = foretold(after)
    assert said["motion"] == said["sample"] == said["mux"] == 2
    assert said["pose"] == said["correspondence"] == 1
    assert said == computed(after)


def test_what_is_forced_is_said(values):
    """Its stage, and what hangs on it."""
    compute(values)
    forced = Forced.of(["motion"])
    assert whys(values, forced) == {
        "motion": {"forced": 4},
        "sample": {"forced": 4},
        "mux": {"forced": 4},
    }


def test_a_revision_is_named_with_its_predecessor(values, monkeypatch):
    """As planned, and as this program has it."""
    compute(values)
    before = plan.revision("motion")
    for place in (plan, module):
        monkeypatch.setattr(place, "revision", lambda stage: 99 if stage == "motion" else 1)
    monkeypatch.setattr("dispose_stages.batch.prepare.revision", lambda stage: 99)
    assert whys(values)["motion"] == {f"revision {before}→99": 4}


def test_other_weights_are_named(values, tmp_path):
    """When the files' times change but what they hold is not known, too."""
    compute(values)
    write_text(tmp_path / "models/other.bin", "weights")
    assert whys(values)["pose"] == {"weights": 4}


def test_a_lost_artifact_alone_is_computed_again(values):
    """Its content will be the same, so what is below stays."""
    done = compute(values)
    lost = next(Path(done.config.store).glob("sample/*/*.zarr.zip"))
    lost.unlink()
    assert whys(values) == {"sample": {"lost": 1}}


def test_a_lost_video_alone_is_made_again(values):
    """The pair whose file is gone."""
    done = compute(values)
    next(done.layout.videos.glob("*.mp4")).unlink()
    assert whys(values) == {"mux": {"lost": 1}}


def test_failures_stay_until_their_job_runs_again(values, monkeypatch):
    """They are neither computed nor cached; a new row in their job tries them again."""
    monkeypatch.setenv("FAKE_FAIL", "motion:a.png + x.mp4")
    compute(values)
    monkeypatch.delenv("FAKE_FAIL")
    prepared = prepare_run(values)
    motion = next(s for s in stage_forecasts(prepared, forecast(prepared)) if s.stage == "motion")
    assert (motion.compute, motion.cached, motion.kept) == (0, 3, 1)


def test_a_changed_file_is_said_with_all_that_hangs_on_it(values, tmp_path):
    """Whether its content is another is not known before it is read."""
    compute(values)
    (tmp_path / "media/a.png").write_text("another")
    assert whys(values) == {
        "ingest": {"changed file": 1},
        "pose": {"changed file": 1},
        "motion": {"changed file": 2},
        "correspondence": {"changed file": 1},
        "sample": {"changed file": 2},
        "mux": {"changed file": 2},
    }


def test_hours_follow_what_was_measured(values):
    """Seconds of this run's units and of loading on a GPU, not the configuration's guess."""
    done = compute(values)
    for name in done.plan.shards("sample"):
        attempt = Attempt(1, device="cuda", computed=4, loads=1, load_seconds=36.0)
        seconds = dict.fromkeys(done.plan.units["sample"], 360.0)
        JobStats(seconds, [attempt]).write(done.layout.stats("sample", name))
    values = {**values, "parameters": {"guidance_max": 3.0}}
    prepared = prepare_run(values)
    stages = stage_forecasts(prepared, forecast(prepared))
    sample = next(stage for stage in stages if stage.stage == "sample")
    assert (sample.compute, sample.jobs, sample.measured, sample.gpu) == (4, 1, True, True)
    assert gpu_hours(stages) == pytest.approx((4 * 360 + 36) / 3600)


def test_a_new_run_learns_from_the_one_beside_it(values):
    """Another name in the same folder of results."""
    compute(values)
    prepared = prepare_run({**values, "run": "second"})
    stages = stage_forecasts(prepared, forecast(prepared))
    assert all(stage.measured for stage in stages)
    assert all(stage.bytes is not None for stage in stages if stage.stage != "mux")


def test_weights_that_were_digested_elsewhere_are_known(values):
    """A run's own record of them decides while the files stay as they are."""
    done = compute(values)
    write_stage_weights(done.layout, "tiny", dict.fromkeys(STAGES, "others"))
    assert whys(values) == {
        "pose": {"what it reads": 4},
        "motion": {"what it reads": 4},
        "correspondence": {"what it reads": 2},
        "sample": {"what it reads": 4},
        "mux": {"what it reads": 4},
    }
