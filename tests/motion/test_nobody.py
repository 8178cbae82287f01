"""Where nobody is found the whole image is the box; that is known, said, and kept out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dispose_stages.artifacts import BODY_KEYPOINTS, Frame
from dispose_stages.config import Motion, Parameters
from dispose_stages.errors import Reason, UnitError, WarningCode
from dispose_stages.motion.facts import pair_facts, pair_warnings
from dispose_stages.motion.stage import STAGE
from dispose_stages.motion.unit import motion_params
from tests.motion.test_alignment import align, body, still, video
from tests.motion.test_motion_stage import (
    HEIGHT,
    REFERENCE_KEY,
    WIDTH,
    make_context,
    make_unit,
    pose,
)
from tests.toy_run import compute


def nobody(seed: int = 5, visible: int = 18) -> Frame:
    """What the pose network makes of a picture without a person: the whole image is the box."""
    frame = body(seed)
    frame.scores[0, BODY_KEYPOINTS] = np.where(np.arange(18) < visible, 0.9, 0.1)
    return dataclasses.replace(frame, box_scores=np.zeros(1))


def showing(*keypoints: int) -> Frame:
    """A found person of whom only these body keypoints are visible."""
    frame = body()
    frame.scores[0, BODY_KEYPOINTS] = np.where(np.isin(np.arange(18), keypoints), 0.9, 0.1)
    return frame


def refusal(*arguments: object, **changes: object) -> UnitError:
    with pytest.raises(UnitError) as caught:
        align(*arguments, **changes)
    return caught.value


@pytest.mark.parametrize("visible", [0, 1, 2, 4])
def test_a_reference_without_a_person_is_refused(visible: int) -> None:
    """Nobody found and hardly anything visible: refused with the remedy, unless it is allowed."""
    error = refusal(still(nobody(visible=visible)), video(body()), allow_no_person=False)
    assert error.reason is Reason.NO_PERSON_REFERENCE
    assert "use a picture of one person" in str(error)
    if visible > 2:
        align(still(nobody(visible=visible)), video(nobody()))


@pytest.mark.parametrize("frame", [body(), nobody(0, visible=5), nobody(0), showing(0, 1, 8, 11)])
def test_somebody_is_not_nobody(frame: Frame) -> None:
    """Neither where the detector found one nor where it missed one that shows."""
    allowed = align(still(frame), video(body()))
    assert align(still(frame), video(body()), allow_no_person=False).scale == allowed.scale


@pytest.mark.parametrize(
    ("keypoints", "names"),
    [((9,), "right knee"), ((0,), "nose"), ((14, 15), "right eye and left eye")],
)
def test_one_or_two_keypoints_are_named(keypoints: tuple[int, ...], names: str) -> None:
    """A fit to next to nothing fails for that cause, not for a scale of 1e-15."""
    reference = showing(*keypoints)
    reference.keypoints[0, keypoints, 1] = 0.4  # eyes at one height give no scale either
    error = refusal(still(reference), video(body(), body(seed=3)), allow_no_person=False)
    assert error.reason is Reason.POSE_TOO_SPARSE
    assert f"only {names} for" in str(error)
    assert "use a picture that shows more" in str(error)


def test_two_keypoints_that_fit_are_fitted() -> None:
    """The original's numbers stay where they are within bounds."""
    pair = align(still(showing(1, 8)), video(body(scale=(0.5, 0.5))))
    assert pair.scale[1] == pytest.approx(2)


PERSON = body(scale=(0.5, 0.5))
SITUATIONS = {
    "fade in": [nobody(), nobody(), PERSON, PERSON],
    "title within": [PERSON, nobody(6), nobody(7), PERSON],
    "gone": [PERSON, PERSON, nobody(8), nobody(9)],
    "once": [nobody(6), nobody(7), nobody(8), PERSON],
}


@pytest.mark.parametrize("frames", SITUATIONS.values(), ids=SITUATIONS.keys())
@pytest.mark.parametrize("rule", ["first", "largest", "index:0"])
def test_frames_without_a_person_do_not_enter_the_corrected_fit(
    frames: list[Frame], rule: str
) -> None:
    """Size and place are those of the frames with one; the poses of all frames are moved."""
    pair = align(still(), video(*frames), person=rule, fit_found_persons=True)
    np.testing.assert_allclose(pair.scale, (2, 2), rtol=1e-12)
    assert len(pair.poses) == 5


@pytest.mark.parametrize("frames", SITUATIONS.values(), ids=SITUATIONS.keys())
def test_the_official_fit_looks_at_them_and_the_pair_is_warned_of(frames: list[Frame]) -> None:
    """As in the original the figure changes; that it does is said, and by the corrected fit not."""
    official = align(still(), video(*frames))
    assert abs(official.scale[1] - 2) > 0.1
    expected = (WarningCode.FIT_WITHOUT_PERSON,)
    assert pair_warnings(official, "first", found_only=False) == expected
    corrected = align(still(), video(*frames), fit_found_persons=True)
    assert pair_warnings(corrected, "first", found_only=True) == ()


@pytest.mark.parametrize(
    ("frames", "warned"),
    [
        ([PERSON] * 4, False),
        ([*[PERSON] * 3, dataclasses.replace(PERSON, box_scores=np.zeros(1))], False),
        ([*[PERSON] * 900, nobody()], False),
        ([nobody(6), nobody(7)], True),
    ],
    ids=["none", "missed but right", "one of many", "all"],
)
def test_what_changes_nothing_is_not_warned_of(frames: list[Frame], warned: bool) -> None:
    """A few percent are the limit; a video in which nobody is ever found is beyond it."""
    field = align(
        still(),
        video(*frames),
        min_visible_keypoints=0,
        min_alignment_scale=1e-9,
        max_alignment_scale=1e9,
        max_alignment_residual=9,
    )
    codes = (WarningCode.FIT_WITHOUT_PERSON,) if warned else ()
    assert pair_warnings(field, "first", found_only=False) == codes


@pytest.mark.parametrize("rule", ["first", "largest", "tracked", "index:0"])
def test_a_corrected_fit_needs_somebody(rule: str) -> None:
    """Where nobody is found in any frame there is nothing to fit."""
    reason = refusal(
        still(), video(nobody(), nobody(6)), person=rule, fit_found_persons=True
    ).reason
    assert reason in {Reason.NO_SINGLE_PERSON_FRAME, Reason.PERSON_LOST}


def test_facts_of_a_pair() -> None:
    """Scores of the persons, what is visible, the line, and how much of the video is empty."""
    field = align(still(), video(PERSON, nobody(), PERSON, PERSON), fit_found_persons=True)
    facts = pair_facts(field)
    assert facts["reference_score"] == facts["driver_score"] == 0.9
    assert facts["reference_keypoints"] == 18
    assert facts["no_person_share"] == 0.25
    assert facts["alignment_scale_x"] == pytest.approx(2)
    assert facts["alignment_offset_y"] == pytest.approx(0, abs=1e-12)
    assert facts["alignment_residual"] < 1e-12


def test_the_reference_is_warned_of_where_it_was_allowed() -> None:
    """With `allow_no_person` the original's numbers come with a warning."""
    field = align(still(nobody(visible=5)), video(body(5)))
    assert WarningCode.NO_PERSON_REFERENCE in pair_warnings(field, "first", found_only=False)
    assert pair_facts(field)["reference_score"] == 0


@pytest.mark.parametrize("compat", ["official", "corrected"])
def test_a_found_artifact_tells_what_a_computed_one_told(tmp_path: Path, compat: str) -> None:
    """The ledger does not depend on whether somebody computed the pair before."""
    context = make_context(tmp_path)
    unit = make_unit(tmp_path, compat=compat)
    repository = STAGE.repository(context)
    assert repository.find(unit) is None
    committed = repository.commit(unit, compute(STAGE.open(context), unit))
    assert repository.find(unit) == committed
    assert len(committed.facts) == 10


def test_an_artifact_of_before_is_refused_like_a_new_one(tmp_path: Path) -> None:
    """A store of before holds grey walls that were animated; they are found only where allowed."""
    context = make_context(tmp_path)
    wall = pose(1, HEIGHT, WIDTH, 0)
    wall.scores[0, BODY_KEYPOINTS] = np.where(np.arange(18) < 3, 0.9, 0.1)
    wall.box_scores[:] = 0.0
    context.store.write("pose", REFERENCE_KEY, wall)
    allowed = make_unit(tmp_path, allow_no_person=True)
    repository, worker = STAGE.repository(context), STAGE.open(context)
    repository.commit(allowed, compute(worker, allowed))
    assert repository.find(allowed).warnings[-1] is WarningCode.NO_PERSON_REFERENCE
    unit = make_unit(tmp_path)
    assert unit.key == allowed.key
    assert repository.find(unit) is None
    with pytest.raises(UnitError, match="nobody was found"):
        compute(worker, unit)


@pytest.mark.parametrize(
    ("parameters", "motion", "entering"),
    [
        ({}, {}, set()),
        ({"compat": "corrected"}, {}, {"fit_found_persons"}),
        ({}, {"allow_no_person": True}, {"allow_no_person"}),
    ],
)
def test_only_what_changes_numbers_enters_the_key(
    parameters: dict[str, str], motion: dict[str, bool], entering: set[str]
) -> None:
    """Units of `official` keep ids and keys; corrected's new fit and the switch have their own."""
    before = {
        *("resolution", "compat", "person", "min_visible_keypoints", "max_alignment_residual"),
        *("min_alignment_scale", "max_alignment_scale"),
    }
    params = motion_params(Parameters(**parameters), Motion(**motion))  # type: ignore[arg-type]
    assert params.plain().keys() == before | entering
