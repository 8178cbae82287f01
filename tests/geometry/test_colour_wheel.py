from __future__ import annotations

import numpy as np

from dispose_stages.geometry.colour_wheel import add_legend, flow_colours, flow_limit, wheel


def field(dx: float, dy: float) -> np.ndarray:
    return np.broadcast_to(np.array([dx, dy])[:, None, None], (2, 64, 96))


def test_no_motion_is_white() -> None:
    """Zero flow has no colour."""
    assert (flow_colours(field(0, 0), 5.0) == 255).all()


def test_directions_have_their_colours() -> None:
    """Right is red, left cyan; half the speed is half as saturated."""
    assert flow_colours(field(5, 0), 5.0)[0, 0].tolist() == [255, 0, 0]
    assert flow_colours(field(-5, 0), 5.0)[0, 0].tolist() == [0, 255, 255]
    np.testing.assert_allclose(flow_colours(field(2.5, 0), 5.0)[0, 0], [255, 127, 127], atol=1)


def test_limit_shows_all_of_a_field() -> None:
    """It is the largest speed, and usable for a field at rest."""
    assert flow_limit(np.stack([field(3, 4), field(0, 1)])) == 5.0
    assert flow_limit(field(0, 0)) > 0


def test_legend_agrees_with_the_field() -> None:
    """The wheel's right rim has the colour of a motion to the right."""
    legend = wheel(101)
    np.testing.assert_allclose(legend[50, 100], flow_colours(field(1, 0), 1.0)[0, 0], atol=6)
    assert not legend[0, 0].any()


def test_legend_covers_a_corner_only() -> None:
    """The rest of the picture stays, and a tiny picture gets none."""
    image = flow_colours(np.broadcast_to(np.array([1.0, 0.0])[:, None, None], (2, 256, 256)), 1.0)
    marked = add_legend(image, 1.0)
    assert (marked[:128] == image[:128]).all()
    assert (marked[190:, 190:] != image[190:, 190:]).any()
    assert (add_legend(image[:8, :8], 1.0) == image[:8, :8]).all()
