from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.geometry.limbs import measured_limbs, unlike

RNG = np.random.default_rng(5)
BODY = RNG.uniform(0, 300, (18, 2))
EVERYTHING = np.ones(18, dtype=bool)


def test_a_limb_is_as_long_as_the_longer_of_its_sides():
    """A forearm that points at the camera says nothing of its length."""
    points = BODY.copy()
    points[4] = points[3] + (0, 50)
    points[7] = points[6] + (3, 0)
    logarithm, _, known = measured_limbs(points, EVERYTHING)[:, 3]
    assert (logarithm, known) == (pytest.approx(np.log(50)), 1)


def test_a_hidden_limb_is_not_compared():
    """Neither in what is seen without it nor in who else is."""
    hidden = EVERYTHING.copy()
    hidden[[4, 7]] = False
    own, others = measured_limbs(BODY, hidden), measured_limbs(BODY * 1.0, EVERYTHING)
    assert own[:, 3].tolist() == [0, 0, 0]
    others[:2, 3] += 5
    assert unlike(own, others) == pytest.approx(0)


def test_a_body_is_as_unlike_as_it_is_often_seen():
    """The mean of many sightings tells more than a single one; a body is like itself."""
    own, others = measured_limbs(BODY, EVERYTHING), measured_limbs(1.1 * BODY, EVERYTHING)
    assert unlike(own, 7 * own) == pytest.approx(0)
    assert unlike(own, others) == pytest.approx(unlike(others, own))
    assert unlike(20 * own, 20 * others) > 2 * unlike(own, others) > 0


def test_one_limb_that_is_mistaken_is_nobody_else():
    """All of them off by a tenth cost more than one that is off by half."""
    own = 20 * measured_limbs(BODY, EVERYTHING)
    mistaken = own.copy()
    mistaken[1, 3] += 2 * np.log(1.5) * mistaken[0, 3] + 20 * np.log(1.5) ** 2
    mistaken[0, 3] += 20 * np.log(1.5)
    assert unlike(own, mistaken) < unlike(own, 20 * measured_limbs(1.1 * BODY, EVERYTHING))


def test_a_limb_that_moves_about_tells_less():
    """Whoever squats shows shorter thighs for a while."""
    lengths = [BODY * scale for scale in (0.5, 1, 2)]
    still = 3 * measured_limbs(BODY, EVERYTHING)
    moving = np.sum([measured_limbs(points, EVERYTHING) for points in lengths], axis=0)
    others = 3 * measured_limbs(1.3 * BODY, EVERYTHING)
    assert unlike(moving, others) < 0.5 * unlike(still, others)
