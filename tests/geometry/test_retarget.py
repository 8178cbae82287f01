from __future__ import annotations

import functools

import numpy as np
import pytest

from dispose_stages.errors import Reason, UnitError
from dispose_stages.geometry.retarget.fit import LEAST_DISTINCT, WELL_KNOWN, retarget, uncertainty
from dispose_stages.geometry.retarget.limbs import ANKLES, CHAIN, LIMBS, POINTS, with_centres
from dispose_stages.geometry.skeleton import ALIGNMENT_KEYPOINTS
from tests.bench.bodies.measuring import Errors, measure
from tests.bench.bodies.observing import DETECTORS, Observed, observe
from tests.bench.bodies.pairs import CELLS, make_pair

BODY = range(18)
ARMS = (2, 3, 4, 5, 6, 7)
LEGS = (8, 9, 10, 11, 12, 13)


@functools.cache
def seen(cell: str, seed: int = 7_000, detector: str = "exact") -> Observed:
    """A pair of the procedural world, as found."""
    return observe(make_pair(seed, CELLS[cell]), DETECTORS[detector], seed)


def only(points: Observed, *, reference=range(134), driving=range(134)) -> Observed:
    """The same with no other keypoints seen."""
    shown = np.zeros((2, 134), dtype=bool)
    shown[0, list(reference)] = shown[1, list(driving)] = True
    return Observed(
        points.reference,
        points.reference_seen & shown[0],
        points.driving,
        points.driving_seen & shown[1],
        points.truth,
    )


def fit(points: Observed, fitted: float = 1.0):
    """Proportions of a pair."""
    return retarget(
        points.reference,
        points.reference_seen,
        points.driving,
        points.driving_seen,
        fitted=fitted,
        keypoints=[k for k in ALIGNMENT_KEYPOINTS if points.reference_seen[k]] or [0],
        official=points.driving,
        height=1,
    )


def segments(points: np.ndarray, name: str) -> np.ndarray:
    """Vectors of a limb in every frame."""
    whole, _ = with_centres(points, np.ones(points.shape[:2], dtype=bool))
    ends = next(limb.ends for limb in LIMBS if limb.name == name)
    return np.stack([whole[:, last] - whole[:, first] for first, last in ends])


def test_every_point_hangs_on_the_pelvis_once():
    """Parents come before their children, and nothing is left out or moved twice."""
    children = [child for _, child, _ in CHAIN]
    known = {134}
    for parent, child, _ in CHAIN:
        assert parent in known
        known.add(child)
    assert len(children) == len(set(children)) == POINTS - 1


def test_a_moved_copy_comes_back():
    """The reference's own body, larger and elsewhere: all lengths and the place are its own."""
    points = seen("same")
    copy = Observed(
        points.driving[0] * 1.5 + 40,
        points.driving_seen[0],
        points.driving[:1],
        points.driving_seen[:1],
        points.driving[:1] * 1.5 + 40,
    )
    placed, measured = fit(copy, fitted=1.5)
    np.testing.assert_allclose(measured.ratio, 1.5, rtol=0.02)
    np.testing.assert_allclose(placed[0, BODY], copy.reference[BODY], atol=4)


@pytest.mark.parametrize("name", ["upper arm", "forearm", "thigh", "shin", "trunk"])
def test_angles_are_the_drivers_and_lengths_the_references(name):
    """Every bone keeps its direction, its foreshortening and its timing."""
    points = seen("unlike, standing")
    placed, measured = fit(points)
    before, after = segments(points.driving, name), segments(placed, name)
    ratio = measured.ratio[[limb.name for limb in LIMBS].index(name)]
    np.testing.assert_allclose(after, ratio * before, atol=1e-9)
    assert segments(points.truth, name)[..., 1].std() > 0
    true = np.linalg.norm(segments(points.truth, name), axis=-1).sum()
    assert np.linalg.norm(after, axis=-1).sum() == pytest.approx(true, rel=0.15)


@pytest.mark.parametrize("cell", ["unlike, standing", "unlike, any pose", "unlike, half figures"])
def test_unlike_bodies_come_nearer_to_the_truth(cell):
    """Over a few movements the error is less than half of the official fit's (docs/bodies.md)."""
    errors = [measure(make_pair(seed, CELLS[cell]), DETECTORS["exact"], seed) for seed in range(5)]
    assert all(isinstance(error, Errors) for error in errors)
    body = sum(e.proportions["body"] for e in errors), sum(e.official["body"] for e in errors)
    assert body[0] < 0.5 * body[1]


def test_feet_stand_on_the_references_ground():
    """The lower ankle keeps to the line on which the reference stands."""
    points = seen("unlike, standing")
    placed, measured = fit(points)
    low = placed[:, ANKLES, 1].max(axis=1)
    assert np.abs(low - points.reference[list(ANKLES), 1].max()).max() < 0.05 * np.ptp(
        points.reference[BODY, 1]
    )
    assert measured.ground_slip < 0.02


@pytest.mark.parametrize("cell", ["same", "like", "unlike, standing", "unlike, any pose"])
def test_the_ground_is_found_whatever_the_legs_do(cell):
    """Over a few movements, the lower ankle is a third as far off as by the official fit."""
    pairs = ((make_pair(seed, CELLS[cell]), seed) for seed in range(7_000, 7_010))
    errors = [measure(pair, DETECTORS["exact"], seed) for pair, seed in pairs]
    known = [(e.delivered, e.official) for e in errors if "ground" in e.official]
    found, official = (sum(e[side]["ground"] for e in known) for side in (0, 1))
    assert found < 0.35 * official


def test_hands_go_with_wrists_and_faces_with_heads():
    """A hand is scaled as the forearm, a face by its own height and width."""
    points = seen("unlike, standing")
    placed, measured = fit(points)
    forearm = measured.ratio[[limb.name for limb in LIMBS].index("forearm")]
    fingers = slice(92, 113)
    np.testing.assert_allclose(
        placed[:, fingers] - placed[:, [7]],
        forearm * (points.driving[:, fingers] - points.driving[:, [7]]),
        atol=1e-9,
    )
    true, got = (np.ptp(p[:, 24:92, 1], axis=1).mean() for p in (points.truth, placed))
    assert got == pytest.approx(true, rel=0.15)


def test_what_is_unseen_decides_nothing():
    """A keypoint that is missing in a frame may be anywhere there."""
    points = seen("unlike, standing")
    gaps = points.driving_seen.copy()
    gaps[3:6, 3], gaps[7, 8] = False, False
    astray = np.where(gaps[..., None], points.driving, 1e4)
    arguments = (points.reference, points.reference_seen)
    known = Observed(*arguments, points.driving, gaps, points.truth)
    wild = Observed(*arguments, astray, gaps, points.truth)
    np.testing.assert_allclose(fit(known)[0][gaps], fit(wild)[0][gaps])


MISFITS = {
    "a face and a whole body": ([*range(24, 92), 0, 14, 15, 16, 17], BODY),
    "arms and legs": ([*ARMS], [*LEGS]),
    "legs and a head with arms": ([*LEGS], [0, 1, *ARMS]),
    "a whole body and hands": (BODY, range(92, 134)),
    "shoulders and hips alone": ([1, 2, 5, 8, 11], [*ARMS]),
    "single joints": ([3, 7, 9, 13], BODY),
    "nobody": ([], BODY),
}


@pytest.mark.parametrize("name", MISFITS)
def test_without_a_common_bone_it_is_refused(name):
    """Typed, and with what to do about it."""
    reference, driving = MISFITS[name]
    with pytest.raises(UnitError, match="align: official") as caught:
        fit(only(seen("unlike, standing"), reference=reference, driving=driving))
    assert caught.value.reason is Reason.RETARGET_UNFIT


POORLY_KNOWN = {
    "one forearm in common": ([0, 1, 5, 6, 7], [6, 7, 16, 17]),
    "one thigh in common": ([0, 1, 8, 9], LEGS),
    "one shin in common": ([9, 10, 14, 15], BODY),
    "arms in common": (ARMS, ARMS),
    "trunk in common": ([1, 2, 5, 8, 11], BODY),
}


@pytest.mark.parametrize("name", POORLY_KNOWN)
def test_with_little_in_common_all_limbs_take_one_ratio(name):
    """What is not seen of a body is as large as the rest of it; one bone makes no body unlike."""
    reference, driving = POORLY_KNOWN[name]
    noisy = seen("like", detector="1 % noise")
    placed, measured = fit(only(noisy, reference=reference, driving=driving))
    unseen = ~measured.in_reference
    assert unseen.any()
    np.testing.assert_allclose(measured.ratio[unseen], measured.body, rtol=0.1)
    assert np.isfinite(placed).all()


FALLS_BACK = {
    "one forearm in common": ("like", "1 % noise", *POORLY_KNOWN["one forearm in common"]),
    "one thigh in common": ("like", "1 % noise", *POORLY_KNOWN["one thigh in common"]),
    "one shin in common": ("like", "1 % noise", *POORLY_KNOWN["one shin in common"]),
    "one upper arm in common": ("like", "1 % noise", [1, 2, 3], ARMS),
    "legs alone under strong noise": ("like", "2 % noise, 5 % missing", LEGS, LEGS),
    "one body under strong noise": ("same", "2 % noise, 5 % missing", range(134), range(134)),
}


@pytest.mark.parametrize("name", FALLS_BACK)
def test_what_is_not_told_from_alike_bodies_falls_back(name):
    """Nor is it known so well that this would not matter."""
    cell, detector, reference, driving = FALLS_BACK[name]
    noisy = seen(cell, detector=detector)
    _, measured = fit(only(noisy, reference=reference, driving=driving))
    assert not measured.used
    assert measured.distinct < LEAST_DISTINCT
    assert uncertainty(measured.spread, measured.in_reference) > WELL_KNOWN


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_short_clips_are_fitted(frames):
    """A clip too short to tell its noise is taken for a noisy one."""
    points = seen("unlike, standing")
    short = Observed(
        points.reference,
        points.reference_seen,
        points.driving[:frames],
        points.driving_seen[:frames],
        points.truth[:frames],
    )
    assert np.isfinite(fit(short)[0]).all()


def test_like_bodies_under_noise_count_as_alike():
    """Most of them; unlike ones do not."""
    detector = "2 % noise, 5 % missing"
    like, unlike = (
        [fit(seen(cell, 7_000 + seed, detector))[1].used for seed in range(10)]
        for cell in ("like", "unlike, standing")
    )
    assert sum(like) < sum(unlike)
    assert sum(unlike) >= 8
