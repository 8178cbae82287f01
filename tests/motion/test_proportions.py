from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dispose_stages.artifacts import Frame, MotionField, PoseTrack
from dispose_stages.config import Motion, Parameters
from dispose_stages.errors import Reason, UnitError, WarningCode
from dispose_stages.motion.alignment import align_pair
from dispose_stages.motion.facts import pair_facts, pair_warnings
from dispose_stages.motion.proportions import align_proportions
from dispose_stages.motion.stage import STAGE
from dispose_stages.motion.unit import MotionParams, motion_params
from dispose_stages.store.encoding import content_digest, encode
from tests.bench.bodies.observing import DETECTORS, observe
from tests.bench.bodies.pairs import CELLS, HEIGHT, WIDTH, make_pair
from tests.motion.test_motion_stage import DRIVING_KEY, PARAMS, REFERENCE_KEY, make_context
from tests.motion.test_motion_stage import make_unit as unit_of
from tests.toy_run import compute


def tracks(cell: str, *, persons: int = 1) -> tuple[PoseTrack, PoseTrack]:
    """Reference and driver of the procedural world; further persons stand beside the driver."""
    found = observe(make_pair(7_000, CELLS[cell]), DETECTORS["exact"], 7_000)

    def track(points: np.ndarray, seen: np.ndarray, count: int) -> PoseTrack:
        shifts = 0.3 * np.arange(count)[:, None, None]
        frames = [
            Frame(
                np.repeat(p[None] / (WIDTH, HEIGHT), count, axis=0) + shifts,
                np.where(np.repeat(s[None], count, axis=0), 0.9, 0.1),
                np.tile([*p[:18].min(axis=0), *p[:18].max(axis=0)], (count, 1)),
                np.linspace(0.9, 0.5, count),
            )
            for p, s in zip(points, seen, strict=True)
        ]
        return PoseTrack.from_frames(frames, list(range(len(frames))), HEIGHT, WIDTH, 12.0)

    return (
        track(found.reference[None], found.reference_seen[None], 1),
        track(found.driving, found.driving_seen, persons),
    )


def params(**changes) -> MotionParams:
    return MotionParams.model_validate(PARAMS | changes)


def aligned(reference: PoseTrack, driving: PoseTrack, **changes) -> MotionField:
    return align_proportions(align_pair(reference, driving, params(**changes)), driving)


def test_the_default_stands_in_no_unit():
    """`align: official` leaves parameters, hence ids and keys, as they were."""
    assert params().plain() == PARAMS
    assert params(align="official").plain() == PARAMS
    assert params(align="proportions").plain() == PARAMS | {"align": "proportions"}


def test_only_proportions_say_how_they_find_the_floor():
    """Their results changed, so their keys do; those of `official` stay."""
    plain = [
        motion_params(Parameters(align=align), Motion()).plain()
        for align in ("official", "proportions")
    ]
    assert plain[1].items() - plain[0].items() == {("align", "proportions"), ("grounded", "feet")}


def test_the_official_artifact_has_nothing_new(tmp_path):
    """No group, no value: its content digest is that of the fields it always had."""
    context = make_context(tmp_path)
    motion = compute(STAGE.open(context), unit_of(tmp_path))
    tree = encode(motion)
    assert (set(tree.groups), motion.retargeting) == ({"poses"}, None)
    assert set(tree.values) == {"height", "width", "scale", "shift", "residual"}


def test_pose_track_and_cmp_input_follow(tmp_path, monkeypatch):
    """CMP is given the retargeted keypoints, the artifact holds them and reads back whole."""
    reference, driving = tracks("unlike, standing")
    context = make_context(tmp_path)
    context.store.write("pose", REFERENCE_KEY, reference)
    context.store.write("pose", DRIVING_KEY, driving)
    official, proportions = (
        compute(STAGE.open(context), unit_of(tmp_path, align=align))
        for align in ("official", "proportions")
    )
    expected = aligned(reference, driving)
    np.testing.assert_array_equal(proportions.poses.keypoints, expected.poses.keypoints)
    assert np.abs(proportions.cmp_flow - official.cmp_flow).max() > 0
    unit = unit_of(tmp_path, align="proportions")
    STAGE.repository(context).commit(unit, proportions)
    back = context.store.read("motion", unit.key, MotionField)
    assert content_digest(encode(back)) == content_digest(encode(proportions))
    assert back.retargeting.used


def test_confidence_is_carried_and_the_reference_stays():
    """Only places change: scores, persons, frames and the reference are the official fit's."""
    reference, driving = tracks("unlike, standing")
    official, moved = align_pair(reference, driving, params()), aligned(reference, driving)
    np.testing.assert_array_equal(official.poses.scores, moved.poses.scores)
    np.testing.assert_array_equal(official.poses[0].keypoints, moved.poses[0].keypoints)
    assert np.abs(official.poses.keypoints - moved.poses.keypoints).max() > 0.01
    boxes = moved.poses.boxes[1:].reshape(-1, 2, 2)
    body = moved.poses.keypoints[1:, :18] * (WIDTH, HEIGHT)
    np.testing.assert_allclose(boxes[:, 0], body.min(axis=1), atol=2)
    np.testing.assert_allclose(boxes[:, 1], body.max(axis=1), atol=2)


def test_only_the_driving_person_is_changed():
    """Others beside it are moved as before; so are frames without it."""
    reference, driving = tracks("unlike, standing", persons=2)
    official = align_pair(reference, driving, params(person="index:1"))
    official.person[5] = -1
    moved = align_proportions(official, driving)
    for frame in range(1, len(moved.poses)):
        before, after = official.poses[frame], moved.poses[frame]
        np.testing.assert_array_equal(before.keypoints[0], after.keypoints[0])
        assert (before.keypoints[1] == after.keypoints[1]).all() == (frame == 5)


def test_like_bodies_fall_back_and_say_so():
    """The poses are the official fit's to the last bit; warning and deciding figure tell why."""
    reference, driving = tracks("same")
    noise = np.random.default_rng(1)
    reference = replace(
        reference, keypoints=reference.keypoints + noise.normal(0, 0.02, (1, 134, 2))
    )
    driving = replace(
        driving, keypoints=driving.keypoints + noise.normal(0, 0.02, driving.keypoints.shape)
    )
    official, moved = align_pair(reference, driving, params()), aligned(reference, driving)
    assert not moved.retargeting.used
    np.testing.assert_array_equal(official.poses.keypoints, moved.poses.keypoints)
    assert WarningCode.ALIGNED_AS_OFFICIAL in pair_warnings(moved, "first", found_only=False)
    facts = pair_facts(moved)
    assert facts["retarget_distinct"] < 0.7
    assert facts["retarget_displacement"] > 0


def test_a_followed_fit_tells_its_figures():
    """Ratio per limb, what was seen, residual, slip and displacement; no warning."""
    moved = aligned(*tracks("unlike, standing"))
    measured = moved.retargeting
    assert measured.used
    assert pair_warnings(moved, "first", found_only=False) == ()
    assert len(measured.limbs) == len(measured.ratio) == len(measured.seen) == 10
    assert measured.in_reference.all()
    assert (measured.seen > 0.5).all()
    facts = pair_facts(moved)
    names = ("body", "distinct", "uncertain", "residual", "ground_slip", "displacement")
    assert {f"retarget_{name}" for name in names} < set(facts)
    assert "retarget_body" not in pair_facts(align_pair(*tracks("same"), params()))


def test_nothing_in_common_is_a_typed_refusal(tmp_path):
    """Through the stage's own compute: the unit fails, with its reason."""
    reference, driving = tracks("unlike, standing")
    face = reference.scores.copy()
    face[:, 1:14] = 0.1
    with pytest.raises(UnitError) as caught:
        aligned(replace(reference, scores=face), driving)
    assert caught.value.reason is Reason.RETARGET_UNFIT


def test_frames_in_which_nobody_was_found_measure_nothing():
    """A whole-image box with keypoints strewn over it neither stretches nor shrinks a limb."""
    reference, driving = tracks("unlike, standing")
    strewn = driving.keypoints.copy()
    strewn[4:8] = np.random.default_rng(0).random((4, 134, 2))
    scores = driving.box_scores.copy()
    scores[4:8] = 0.0
    empty = replace(driving, keypoints=strewn, box_scores=scores)
    known, measured = (aligned(reference, track).retargeting for track in (driving, empty))
    # The official scale, which these frames do spoil, is one piece of evidence among many.
    np.testing.assert_allclose(measured.ratio, known.ratio, rtol=0.05)
