from __future__ import annotations

import json
import math

import numpy as np
import pytest

from dispose_stages.artifacts import FACE_KEYPOINTS, Frame, PoseTrack
from dispose_stages.missing import Missing
from dispose_stages.score import faces, groups
from dispose_stages.score.clip import FramePair
from dispose_stages.score.measurement import Measurement, of_features

HEIGHT, WIDTH = 64, 48


def frames(count, seed=0):
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8))


def test_every_missing_value_has_its_reason():
    """No truth, one tile, a small frame: typed, never zero, never left out."""
    found = groups.measure_frames(
        map(FramePair, frames(5)),
        np.zeros(4, dtype=bool),
        ["correct", "disco"],
        without_truth=Missing.TRUTH_SHORT,
    )
    for name in ("psnr", "ssim", "ms_ssim", "l1_disco", "flicker_excess"):
        assert found.missing[name] is Missing.TRUTH_SHORT
    assert found.missing["seam_flicker"] is Missing.ONE_TILE
    assert found.values["flicker"] > 0
    with_truth = groups.measure_frames(
        [FramePair(a, b) for a, b in zip(frames(5), frames(5, 1), strict=True)],
        np.ones(4, dtype=bool),
        ["correct"],
    )
    assert with_truth.missing["ms_ssim"] is Missing.TOO_SMALL
    assert with_truth.values["psnr"] > 0


def test_one_frame():
    """Has no steps and no slope, but a likeness to the truth."""
    found = groups.measure_frames(
        [FramePair(frames(1)[0], frames(1, 1)[0])], np.zeros(0, dtype=bool), ["correct"]
    )
    for name in ("flicker", "warping_error", "seam_flicker", "flicker_excess", "true_flicker"):
        assert found.missing[name] is Missing.ONE_FRAME
    assert found.missing["drift_red"] is Missing.SHORT_CLIP
    assert found.values["psnr"] > 0


def pose(*, seen=True, score=1.0):
    """A track of one frame and one person."""
    keypoints = np.random.default_rng(0).uniform(0.2, 0.8, (1, 134, 2))
    boxes = np.zeros((1, 4))
    frame = Frame(keypoints, np.full((1, 134), score), boxes, np.array([0.9 if seen else 0.0]))
    return PoseTrack.from_frames([frame], [0], HEIGHT, WIDTH, 15.0)


def test_poses_that_give_no_distance_say_why():
    """Nobody in the result, nothing found, nothing wanted."""
    driver = np.zeros(1, dtype=np.int64)
    nobody = groups.measure_pose(pose(seen=False), pose(), driver)
    assert nobody.values["pck_010_body"] == 0
    assert nobody.missing["akd_body"] is Missing.NO_PERSON
    assert nobody.missing["akd_head_body"] is Missing.NO_PERSON
    assert nobody.values["persons_none"] == 1
    hidden = groups.measure_pose(pose(score=0.0), pose(), driver)
    assert hidden.missing["akd_hands"] is Missing.NOT_FOUND
    unwanted = groups.measure_pose(pose(), pose(score=0.0), driver)
    assert unwanted.missing["pck_010_face"] is Missing.NOT_WANTED
    assert unwanted.values["spurious_face"] == 1
    lost = groups.measure_pose(pose(), pose(), np.array([-1]))
    assert lost.missing["pck_005_body"] is Missing.NOT_WANTED
    headless = pose()
    headless.scores[0, 0] = 0
    assert groups.measure_pose(pose(), headless, driver).missing["akd_head_body"] is (
        Missing.HEAD_HIDDEN
    )


def mean_colour(batch):
    return batch.mean(axis=(2, 3))


def face(image, *, visible=True):
    keypoints = np.zeros((134, 2))
    for group, place in zip(faces._LANDMARKS, faces._PLACES, strict=True):
        keypoints[FACE_KEYPOINTS][group] = place * (WIDTH / 112)
    return image, keypoints, np.full(134, 1.0 if visible else 0.0)


def painted(red, green):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0], image[..., 1] = red, green
    return image


def test_identity_is_the_likeness_of_shown_faces():
    """One for the same face; hidden ones do not count, and are counted."""
    shown = [face(painted(200, 0)), face(painted(0, 200)), face(painted(9, 9), visible=False)] * 3
    wanted = faces.FaceInput(16, 16, mean=0.0, scale=255.0)
    found = groups.measure_identity(shown, face(painted(200, 0)), mean_colour, wanted, batch=2)
    assert found.frames["identity"][:2] == pytest.approx([1, 0], abs=1e-9)
    assert np.isnan(found.frames["identity"][2])
    assert found.values["identity"] == pytest.approx(0.5)
    assert found.values["identity_frames"] == pytest.approx(2 / 3)
    hidden = [face(painted(1, 1), visible=False)]
    assert groups.measure_identity(
        hidden, face(painted(200, 0)), mean_colour, wanted, batch=2
    ).missing == {"identity": Missing.FACE_HIDDEN}
    assert groups.measure_identity(shown, hidden[0], mean_colour, wanted, batch=2).missing == {
        "identity": Missing.REFERENCE_FACE_HIDDEN
    }


def test_features_of_a_short_clip_or_of_no_number():
    """Typed, and not stored."""
    assert of_features("fvd", np.zeros((0, 0))).missing == {"fvd_features": Missing.SHORT_CLIP}
    broken = np.full((2, 3), math.nan)
    assert of_features("fid", broken).missing == {"fid_features": Missing.NOT_FINITE}
    assert of_features("fid", broken).features is None
    assert groups.measure_distance("lpips", broken[0]).missing == {"lpips": Missing.NOT_FINITE}


def test_the_artifact_holds_a_value_or_a_reason():
    """A value that is no number without a reason is named so."""
    found = Measurement(
        {"b": 1.0, "a": math.nan, "c": math.nan},
        {"c": Missing.ONE_FRAME},
        {"b": np.array([1.0, 2.0])},
    )
    stored = found.artifact(json.dumps({}))
    assert stored.metrics == ("a", "b", "c")
    assert stored.missing == ("not_finite", "", "one_frame")
    assert stored.values[1] == 1.0
    assert stored.frame_values.tolist() == [[1.0, 2.0]]


def test_a_movement_that_cannot_be_compared_says_why():
    """Nobody in the result, nobody wanted, fewer frames than a window."""

    def why(count=12, *, person=0, **found):
        result, driver = (
            PoseTrack.from_frames([one[0]] * count, list(range(count)), HEIGHT, WIDTH, 15.0)
            for one in (pose(**found), pose())
        )
        return groups.measure_pose(result, driver, np.full(count, person)).missing

    assert "movement_body" not in why()
    assert why(seen=False)["movement_body"] is Missing.NO_PERSON
    assert why(person=-1)["movement_body"] is Missing.NOT_WANTED
    assert why(3)["movement_body"] is Missing.SHORT_CLIP
