from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.motion.alignment import align_pair
from dispose_stages.motion.overlay import (
    DRIVER,
    OFFICIAL,
    PROPORTIONS,
    REFERENCE,
    alignment_figures,
    preview_alignment,
)
from tests.bench.bodies.pairs import HEIGHT, WIDTH
from tests.motion.test_proportions import aligned, params, tracks


def shown(image: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((image == colour).all(axis=-1).any())


def test_all_four_bodies_are_drawn_with_the_figures():
    """Reference, driver, official fit, proportions; one picture per frame, figures below."""
    reference, driving = tracks("unlike, standing")
    image = preview_alignment(aligned(reference, driving), driving, [0, 12, 23])
    assert image.shape[1] == 3 * WIDTH
    assert image.shape[0] > HEIGHT
    bodies = image[:HEIGHT]
    assert all(shown(bodies, colour) for colour in (REFERENCE, DRIVER, OFFICIAL, PROPORTIONS))
    assert image[HEIGHT:].any()


def test_the_official_fit_is_drawn_without_the_other():
    """A row that did not ask for proportions shows none, and says nothing of them."""
    reference, driving = tracks("unlike, standing")
    motion = align_pair(reference, driving, params())
    image = preview_alignment(motion, driving, [4])
    assert shown(image, OFFICIAL)
    assert not shown(image, PROPORTIONS)
    assert len(alignment_figures(motion)) == 1


@pytest.mark.parametrize("frame", [3])
def test_a_frame_without_the_person_shows_the_reference(frame):
    """As where tracking lost it."""
    reference, driving = tracks("unlike, standing")
    motion = aligned(reference, driving)
    motion.person[frame + 1] = -1
    image = preview_alignment(motion, driving, [frame])[:HEIGHT]
    assert shown(image, REFERENCE)
    assert not shown(image, DRIVER)
