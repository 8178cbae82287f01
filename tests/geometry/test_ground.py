from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.geometry.retarget.ground import onto_ground
from dispose_stages.geometry.retarget.limbs import ANKLES, HIPS, KNEES, POINTS

LEG = 200.0
RIGHT, LEFT = ANKLES


def legs(*rows: tuple[float, float], bend: float = 0.0) -> np.ndarray:
    """Frames of a body whose hips are at 100 and whose right and left ankle are on these rows."""
    points = np.zeros((len(rows), POINTS, 2))
    points[:, HIPS] = [(40, 100), (60, 100)]
    points[:, KNEES] = [(40 - bend, 200), (60 + bend, 200)]
    points[:, ANKLES] = [[(40, right), (60, left)] for right, left in rows]
    return points


def down(still: np.ndarray, moving: np.ndarray, hidden: tuple[int, ...] = ()) -> float | None:
    """Where the ground is, with joints that the reference hides."""
    seen = np.ones((1 + len(moving), POINTS), dtype=bool)
    seen[0, list(hidden)] = False
    return onto_ground(still, seen[:1], moving, seen[1:], LEG)


def test_a_foot_before_the_other_is_on_the_same_ground():
    """Turned one way and the other, the middle between the feet stays."""
    assert down(legs((305, 295)), legs(*[(293, 307)] * 8)) == pytest.approx(0, abs=1)


def test_a_lifted_foot_is_not_on_the_ground():
    """In the reference, in the driver, or by turns."""
    lifted = legs((300, 220))
    assert down(lifted, legs(*[(300, 225)] * 8)) == pytest.approx(0, abs=1)
    assert down(lifted, legs(*[(225, 300)] * 8, *[(300, 225)] * 8)) == pytest.approx(0, abs=1)


def test_feet_are_compared_in_like_postures():
    """Feet that come forward as the driver squats say nothing of where it stands."""
    squat = legs(*[(330, 330)] * 12, bend=40)
    moving = np.concatenate([legs(*[(310, 310)] * 6), squat])
    assert down(legs((300, 300)), moving) == pytest.approx(-10)


def test_a_hidden_foot_is_not_compared():
    """Nor is the driver's, whose other foot stands elsewhere."""
    astray = legs((0, 300))
    assert down(astray, legs(*[(330, 310)] * 8), hidden=(RIGHT, KNEES[0])) == pytest.approx(-10)


def test_without_feet_there_is_no_ground():
    """The body is then put where its middle is."""
    assert down(legs((300, 300)), legs(*[(310, 310)] * 8), hidden=ANKLES) is None


def test_feet_that_no_two_pictures_share_are_compared_all_the_same():
    """The reference shows the left alone, the driver the right."""
    moving = legs(*[(310, 0)] * 8)
    seen = np.ones((9, POINTS), dtype=bool)
    seen[0, RIGHT] = seen[1:, LEFT] = False
    assert onto_ground(legs((0, 300)), seen[:1], moving, seen[1:], LEG) == pytest.approx(-10)
