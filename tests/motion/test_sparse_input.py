from __future__ import annotations

import numpy as np

from dispose_stages.motion.propagation import image_input, sparse_impulses, sparse_input


def test_image_is_the_nearest_pixel_without_normalisation() -> None:
    """Q9: nearest pixel, black is -1 and white 1."""
    image = np.zeros((64, 128, 3), dtype=np.uint8)
    image[:, 64:] = 255
    planes = image_input(image)
    assert planes.shape == (1, 3, 384, 384)
    assert (planes[..., :192] == -1).all()
    assert (planes[..., 192:] == 1).all()


def test_channels_hold_displacement_and_mask() -> None:
    """At the reference's pixel on the square: displacement on the square, mask on both channels."""
    points = np.array([[[0.25, 0.5]], [[0.5, 0.25]]])
    visible = np.ones((2, 1), dtype=bool)
    values = sparse_input(sparse_impulses(points, visible, 128, 64, compat="official"))
    assert values.shape == (1, 4, 384, 384)
    place = (0, slice(None), 192, 96)
    np.testing.assert_allclose(values[place], [96.0, -96.0, 1.0, 1.0])
    values[place] = 0
    assert not values.any()


def test_corrected_translation_moves_every_keypoint_alike() -> None:
    """Corrected Q8: a rigid translation writes one displacement wherever the mask is 1."""
    rng = np.random.default_rng(0)
    start = rng.random((18, 2)) * 0.5 + 0.2
    visible = rng.random((4, 18)) > 0.3
    steps = np.array([[0, 0], [0.02, 0.01], [0.05, -0.03], [-0.1, 0.08]])
    values = sparse_input(
        sparse_impulses(start + steps[:, None], visible, 256, 128, compat="corrected")
    ).numpy()
    for frame in range(3):
        mask = values[frame, 2] == 1
        assert 0 < mask.sum() <= (visible[0] & visible[frame + 1]).sum()
        expected = steps[frame + 1] * 384
        np.testing.assert_allclose(
            values[frame, :2, mask], expected[None].repeat(mask.sum(), 0), atol=1e-4
        )
        assert not values[frame, :, ~mask].any()
