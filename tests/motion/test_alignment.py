from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.artifacts import Frame, PoseTrack
from dispose_stages.config import Motion, Parameters
from dispose_stages.errors import Reason, UnitError
from dispose_stages.motion.alignment import align_pair
from dispose_stages.motion.unit import motion_params


def body(seed=0, *, scale=(1.0, 1.0), shift=(0.0, 0.0), persons=1, noise=0.0):
    """The same random figure, moved and scaled; further persons are others."""
    keypoints = np.random.default_rng(seed).uniform(0.2, 0.8, (1, 134, 2))
    others = np.random.default_rng(99).uniform(0, 1, (persons - 1, 134, 2))
    keypoints = keypoints * np.asarray(scale) + np.asarray(shift)
    keypoints += noise * np.random.default_rng(7).standard_normal(keypoints.shape)
    boxes = np.tile([10.0, 20.0, 60.0, 90.0], (persons, 1)) + 100.0 * np.arange(persons)[:, None]
    return Frame(
        np.concatenate([keypoints, others]),
        np.full((persons, 134), 0.9),
        boxes,
        np.linspace(0.9, 0.5, persons),
    )


def still(frame=None, height=192, width=128):
    """A reference."""
    return PoseTrack.from_frames([frame or body()], [0], height, width, 0.0)


def video(*frames, height=192, width=128):
    """A driving video."""
    return PoseTrack.from_frames(list(frames), list(range(len(frames))), height, width, 25.0)


def align(reference, driving, **changes):
    """The aligned pair; also of a reference without a person."""
    params = motion_params(Parameters(), Motion(allow_no_person=True))
    return align_pair(reference, driving, params.model_copy(update=changes))


def reason_of(*arguments, **changes):
    """The typed reason for which a pair is refused."""
    with pytest.raises(UnitError) as caught:
        align(*arguments, **changes)
    return caught.value.reason


def test_a_moved_figure_comes_back():
    """A driving body that is a similarity of the reference lands on it exactly, parts included."""
    reference = still()
    driving = video(
        body(scale=(0.5, 0.5), shift=(0.3, 0.1)), body(scale=(0.5, 0.5), shift=(0.3, 0.1))
    )
    aligned = align(reference, driving)
    np.testing.assert_allclose(aligned.scale, (2, 2), rtol=1e-12)
    assert aligned.residual < 1e-12
    for index in range(3):
        np.testing.assert_allclose(aligned.poses[index].keypoints, reference.keypoints, atol=1e-12)
    assert aligned.poses.frame_indices.tolist() == [-1, 0, 1]
    assert aligned.person.tolist() == [0, 0, 0]
    assert (aligned.poses.height, aligned.poses.width) == (192, 128)


def test_aspects_set_the_horizontal_scale():
    """A landscape video on a portrait target: pixels keep their shape (Q15)."""
    driving = video(body(), body(), height=90, width=160)
    a_x, a_y = align(still(), driving).scale
    assert a_x == pytest.approx(a_y / ((90 / 160) / 192 * 128), rel=1e-12)


def test_hidden_reference_keypoints_do_not_count():
    """A keypoint that the reference hides may be anywhere."""
    reference = body()
    reference.scores[0, 10] = 0.3
    reference.keypoints[0, 10] = 50.0
    alignment = align(still(reference), video(body()))
    np.testing.assert_allclose(alignment.scale, (1, 1), rtol=1e-12)


def test_hidden_driving_keypoints_do_count():
    """As in the original, scores of the driving frames are not looked at (Q15)."""
    hidden = body()
    hidden.scores[:] = 0.0
    assert align(still(), video(hidden)).scale[1] == pytest.approx(1)


def test_elbows_and_wrists_do_not_count():
    """Arms move too much to measure a body by."""
    waving = body()
    waving.keypoints[0, [3, 4, 6, 7]] = 9.0
    assert align(still(), video(waving)).scale[1] == pytest.approx(1)


def test_frames_with_several_persons_are_moved_but_not_fitted():
    """Every pose of every person is aligned; only lone persons define the line."""
    company = body(persons=3, scale=(9.0, 9.0))
    driving = video(body(scale=(0.5, 0.5)), company)
    aligned = align(still(), driving)
    assert aligned.scale[1] == pytest.approx(2)
    assert aligned.poses[2].persons == 3
    np.testing.assert_allclose(
        aligned.poses[2].keypoints, company.keypoints * aligned.scale + aligned.shift, rtol=1e-12
    )


def test_boxes_follow_in_pixels_of_the_target():
    """A box keeps enclosing what it enclosed."""
    driving = video(body(scale=(0.5, 0.5)), height=384, width=256)
    aligned = align(still(), driving)
    corners = driving.boxes.reshape(-1, 2, 2) / (256, 384)
    np.testing.assert_allclose(
        aligned.poses[1].boxes.reshape(-1, 2, 2),
        (corners * aligned.scale + aligned.shift) * (128, 192),
    )


def test_no_frame_shows_one_person():
    """With the official rule that is the end; a chosen person may be in company."""
    driving = video(body(persons=2), body(persons=2))
    assert reason_of(still(), driving) is Reason.NO_SINGLE_PERSON_FRAME
    for rule in ("tracked", "largest", "index:0"):
        assert align(still(), driving, person=rule).scale[1] == pytest.approx(1)


def test_chosen_person_never_shows():
    """`index:N` beyond every frame."""
    assert reason_of(still(), video(body()), person="index:4") is Reason.PERSON_LOST


def test_reference_without_person():
    """The whole-image box with nothing visible in it."""
    blank = body()
    blank.scores[:] = 0.1
    empty = Frame(blank.keypoints, blank.scores, blank.boxes, np.zeros(1))
    assert reason_of(still(empty), video(body())) is Reason.NO_PERSON_REFERENCE


def test_sparse_reference():
    """Fewer visible keypoints than asked for, and none that alignment can use."""
    sparse = body()
    sparse.scores[0, :14] = 0.1
    assert (
        reason_of(still(sparse), video(body()), min_visible_keypoints=5) is Reason.POSE_TOO_SPARSE
    )
    arms = body()
    arms.scores[0, :18] = 0.1
    arms.scores[0, [3, 4, 6, 7]] = 0.9
    assert reason_of(still(arms), video(body())) is Reason.POSE_TOO_SPARSE


@pytest.mark.parametrize(
    ("driving", "changes"),
    [
        (body(scale=(0.5, 0.5)), {"max_alignment_scale": 1.9}),
        (body(scale=(0.5, 0.5)), {"min_alignment_scale": 2.1}),
        (body(scale=(1.0, -1.0)), {}),
        (body(noise=0.2), {"max_alignment_residual": 0.01}),
        (body(scale=(1.0, 0.0)), {}),
    ],
    ids=["large", "small", "upside down", "residual", "flat"],
)
def test_poor_alignments(driving, changes):
    """Scale or residual out of bounds, and keypoints that define no line."""
    assert reason_of(still(), video(driving), **changes) is Reason.ALIGNMENT_POOR


def test_residual_is_in_fractions_of_the_height():
    """Of the fit that is applied."""
    driving = body(noise=0.05)
    aligned = align(still(), video(driving))
    points = [0, 1, 2, 5, *range(8, 18)]
    error = aligned.poses[1].keypoints[0, points, 1] - body().keypoints[0, points, 1]
    assert aligned.residual == pytest.approx(float(np.sqrt(np.mean(error**2))))
