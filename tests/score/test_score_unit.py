from __future__ import annotations

import pytest

from dispose_stages.batch.manifest import Manifest, Row, read_manifest, rejects_csv
from dispose_stages.batch.plan import build_plan
from dispose_stages.config import Parameters, load_config
from dispose_stages.errors import ConfigError


def row(pair_id="p", truth_video="/m/t.mp4", reference_frame=None, **overrides):
    parameters = Parameters(**overrides)
    return Row(
        line=2,
        pair_id=pair_id,
        reference_image="/m/i.png",
        driving_video="/m/v.mp4",
        parameters=parameters,
        truth_video=truth_video,
        reference_frame=reference_frame,
    )


def plan_of(rows, **score):
    config = load_config({"score": score})
    return build_plan(config, Manifest(tuple(rows), ()))


def units_of(plan, pair_id="p"):
    (roles,) = [r.units for r in plan.rows if r.pair_id == pair_id]
    return {role: plan.units["score"][u] for role, u in roles.items() if role.startswith("score_")}


@pytest.fixture
def weights(tmp_path):
    """Files of every group that needs some."""
    names = {"lpips": "v.pth", "fid": "i.pth", "fvd": "i3d.pt", "identity": "f.onnx"}
    paths = {f"{group}_weights": str(tmp_path / name) for group, name in names.items()}
    paths["cd_fvd_weights"] = str(tmp_path)
    for path in (*names.values(), "config.json", "model.safetensors"):
        (tmp_path / path).write_text("x")
    return paths


def test_nothing_is_scored_unless_it_is_asked_for():
    """And a run with scores has the same units in all other stages."""
    without, scored = plan_of([row()]), plan_of([row()], metrics=["frames"])
    assert not without.units["score"]
    for stage in ("pose", "motion", "correspondence", "sample", "mux"):
        assert without.units[stage].keys() == scored.units[stage].keys()


def test_a_group_leaves_the_others_as_they_are(weights):
    """Switching groups on, and settings of other groups, change no unit of this one."""
    alone = units_of(plan_of([row()], metrics=["frames"]))
    groups = ["frames", "pose", "lpips", "fid", "fvd", "cd_fvd", "identity"]
    settings = {"window_stride": 4, "lpips_backbone": "alex", "identity_mean": 0.0}
    many = units_of(plan_of([row()], metrics=groups, **weights, **settings))
    assert alone["score_frames"].id == many["score_frames"].id
    assert len(many) == len(groups) + 3  # and features of the truth for metrics of sets
    other = units_of(plan_of([row()], metrics=["frames"], definitions=["correct"]))
    assert other["score_frames"].id != alone["score_frames"].id


def test_what_a_group_reads(weights):
    """The video, or latents before the codec; pose and truth; weights by content."""
    plan = plan_of([row()], metrics=["frames", "fid"], before_codec=True, **weights)
    units = units_of(plan)
    frames = units["score_frames"]
    assert frames.upstream["video"] == ("mux", "p")
    assert frames.upstream["truth"][0] == "ingest"
    assert frames.sources == {"truth": "/m/t.mp4"}
    before = units["score_frames_before_codec"]
    assert before.upstream["latents"][0] == "sample"
    assert "video" not in before.upstream
    assert units["score_fid"].upstream["weights_0"][0] == "ingest"
    assert set(units["score_fid_truth"].upstream) == {"motion", "truth", "driver", "weights_0"}


def test_truth_aligned_plain_or_both():
    """Two columns if both are wanted; without a truth there is one, which says so."""
    both = units_of(plan_of([row()], metrics=["frames"], truth="both"))
    assert set(both) == {"score_frames", "score_frames_aligned"}
    cross = units_of(plan_of([row(truth_video="")], metrics=["frames"], truth="both"))
    assert set(cross) == {"score_frames"}
    assert cross["score_frames"].params["group"] == "frames"
    assert "truth" not in cross["score_frames"].upstream


def test_a_truth_that_is_absent_costs_its_own_row_alone(tmp_path):
    """Set aside before anything runs, by line and column; the others keep theirs."""
    for name in ("i.png", "v.mp4", "t.mp4"):
        (tmp_path / name).write_bytes(b"x")
    manifest = tmp_path / "m.csv"
    manifest.write_text(
        "reference_image,driving_video,pair_id,truth_video\n"
        "i.png,v.mp4,a,t.mp4\ni.png,v.mp4,b,gone.mp4\ni.png,v.mp4,c,\n"
    )
    found = read_manifest(manifest, Parameters())
    (problem,) = found.problems
    assert (problem.line, problem.pair_id, problem.column) == (3, "b", "truth_video")
    assert problem.reason.startswith("no such file")
    where = tmp_path / "gone.mp4"
    assert f"\n3,b,truth_video,{where}," in rejects_csv(found.problems)
    plan = build_plan(load_config({"score": {"metrics": ["frames"]}}), found)
    assert [planned.pair_id for planned in plan.rows] == ["a", "c"]
    assert "truth" in units_of(plan, "a")["score_frames"].upstream
    assert units_of(plan, "c")["score_frames"].params.get("against", "nothing") == "nothing"


def test_variants_share_the_features_of_their_truth(weights):
    """They differ in their videos only."""
    rows = [row("a"), row("b", motion_guidance=False)]
    plan = plan_of(rows, metrics=["fid"], **weights)
    first, second = units_of(plan, "a"), units_of(plan, "b")
    assert first["score_fid_truth"].id == second["score_fid_truth"].id
    assert first["score_fid"].id != second["score_fid"].id


def test_limbs_moved_one_by_one_are_measured_by_their_own_fit(weights):
    """Such rows read the pose that was moved, where a place is asked for; all others do not."""
    groups = {"metrics": ["frames", "pose", "lpips"], "truth": "both"} | weights
    wanted = {
        "official": set(),
        "proportions": {"score_frames", "score_frames_aligned", "score_lpips_aligned"},
    }
    for align, roles in wanted.items():
        units = units_of(plan_of([row(align=align)], **groups))
        assert {role for role, unit in units.items() if "driving_pose" in unit.upstream} == roles


def test_a_frame_of_the_driver_as_reference_is_its_own_truth():
    """Its number enters every unit that reads the image, and no unit of other rows."""
    frame = plan_of([row(truth_video="", reference_frame=3)], metrics=["frames"])
    assert units_of(frame)["score_frames"].sources == {"truth": "/m/v.mp4"}
    for stage in ("pose", "motion", "correspondence", "sample"):
        params = [unit.params for unit in frame.units[stage].values()]
        assert any(p.get("reference_frame") == 3 for p in params), stage
    plain = plan_of([row()])
    for stage in ("pose", "motion", "correspondence", "sample"):
        assert not any("reference_frame" in u.params for u in plain.units[stage].values())


@pytest.mark.parametrize("group", ["lpips", "fid", "fvd", "cd_fvd", "identity"])
def test_missing_weights_are_said_before_anything_runs(group, tmp_path):
    """Whether no path was given or nothing is there; all at once."""
    with pytest.raises(ConfigError, match=f"score.{group}_weights names no file"):
        plan_of([row()], metrics=[group])
    gone = {f"{group}_weights": str(tmp_path / "gone")}
    with pytest.raises(ConfigError, match=f"score.{group}_weights: no such file"):
        plan_of([row()], metrics=[group], **gone)


def test_a_missing_extra_is_said_before_anything_runs(weights, monkeypatch):
    """With the command that brings it."""
    monkeypatch.setattr("dispose_stages.score.unit.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="pip install"):
        plan_of([row()], metrics=["lpips"], lpips_weights=weights["lpips_weights"], batch_size=3)
