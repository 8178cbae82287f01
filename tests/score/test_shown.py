from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dispose_stages.score.shown import as_moved
from tests.motion.test_proportions import aligned, tracks


def off(motion, driving):
    """Root mean square distance of the moved body from the driver's, moved by the pair's map."""
    moved, visible = motion.body_track()
    body = driving.keypoints[:, :18] * motion.scale + motion.shift
    apart = ((body - moved[1:]) * (motion.width, motion.height))[visible[1:]]
    return float(np.sqrt((apart**2).sum(axis=-1).mean()))


def test_the_own_fit_is_nearer_than_the_official_one():
    """Than any other, where limbs were moved one by one; elsewhere the official map is exact."""
    reference, driving = tracks("unlike, standing")
    followed = aligned(reference, driving, align="proportions")
    assert followed.retargeting.used
    fitted = as_moved(followed, driving)
    least = off(fitted, driving)
    assert least < off(followed, driving)
    for grown, aside in ((1.02, 0), (0.98, 0), (1, 0.01), (1, -0.01)):
        scale = tuple(grown * value for value in fitted.scale)
        shift = (fitted.shift[0] + aside, fitted.shift[1])
        assert off(replace(fitted, scale=scale, shift=shift), driving) > least
    alike = replace(followed, retargeting=replace(followed.retargeting, used=False))
    assert as_moved(alike, driving) is alike
    plain = replace(followed, retargeting=None)
    assert as_moved(plain, driving) is plain


def test_the_own_fit_keeps_circles_round():
    """One scale in pixels, whatever the shapes; the map itself, where the body moved by one."""
    reference, driving = tracks("unlike, standing")
    followed = aligned(reference, driving, align="proportions")
    poses = followed.poses
    keypoints = poses.keypoints.copy()
    persons = int(poses.person_offsets[1])
    keypoints[persons:] = driving.keypoints * (0.35, 0.7) + (0.1, 0.2)
    moved = replace(poses, keypoints=keypoints)
    fitted = as_moved(replace(followed, poses=moved, width=2 * followed.width), driving)
    assert fitted.scale == pytest.approx((0.35, 0.7))
    assert fitted.shift == pytest.approx((0.1, 0.2))
