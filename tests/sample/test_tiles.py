"""Temporal tiles and their blending."""

import weakref
from collections.abc import Iterator

import pytest
import torch

from dispose_stages.errors import ConfigError
from dispose_stages.geometry.tiles import plan_tiles, tile_indices
from dispose_stages.sample.tiles import TileBlender, tile_weights

SHAPES = [(f, t, o) for f in (2, 5, 16, 17, 73) for t in (2, 4, 7, 16) for o in range(1, t, 3)]


@pytest.mark.parametrize(("frames", "size", "overlap"), SHAPES)
def test_tiles_cover_the_clip(frames: int, size: int, overlap: int) -> None:
    """Every frame is in a tile, every tile opens with the reference and has the same length."""
    tiles = plan_tiles(frames, size, overlap)
    assert {frame for tile in tiles for frame in tile} == set(range(frames))
    assert all(tile[0] == 0 and sorted(set(tile)) == tile for tile in tiles)
    assert {len(tile) for tile in tiles} == {min(frames, size)}


def test_published_setting_has_the_known_number_of_tiles() -> None:
    """66 to 75 output frames take 7 tiles, 76 take 8."""
    counts = {n: len(tile_indices(n + 1, 16, 6)) for n in (65, 66, 75, 76)}
    assert counts == {65: 6, 66: 7, 75: 7, 76: 8}


def test_short_clip_is_one_tile() -> None:
    """A clip shorter than a tile is one tile of its own length."""
    assert tile_indices(3, 16, 6) == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("frames", "size", "overlap"), [(9, 4, 4), (9, 4, 5), (0, 4, 1), (9, 4, -1)]
)
def test_impossible_tiles_are_refused(frames: int, size: int, overlap: int) -> None:
    """An overlap as long as the tile, and numbers out of range, are configuration errors."""
    with pytest.raises(ConfigError):
        tile_indices(frames, size, overlap)


def test_no_frame_is_left_out_without_overlap() -> None:
    """The reference pushes a frame out between two tiles; an overlap of 1 brings it back."""
    assert 16 not in {frame for tile in tile_indices(36, 16, 0) for frame in tile}
    assert plan_tiles(36, 16, 0) == tile_indices(36, 16, 1)
    assert {frame for tile in plan_tiles(36, 16, 0) for frame in tile} == set(range(36))
    assert plan_tiles(17, 16, 0) == tile_indices(17, 16, 0)


def test_tiles_of_the_reference_alone_are_refused() -> None:
    """They would never reach a driving frame."""
    with pytest.raises(ConfigError):
        plan_tiles(5, 1, 0)


def test_weights_are_a_tent() -> None:
    """Weights rise linearly to the middle and fall alike."""
    assert tile_weights(4).tolist() == [0.25, 0.75, 0.75, 0.25]
    assert tile_weights(3).tolist() == pytest.approx([1 / 3, 1, 1 / 3])


def test_blend_is_the_weighted_mean() -> None:
    """Where two tiles meet, each counts by its position; elsewhere a prediction stays as it is."""
    tiles = plan_tiles(5, 4, 2)
    assert tiles == [[0, 1, 2, 3], [0, 2, 3, 4]]
    first, second = torch.zeros(1, 4, 4, 1, 1), torch.ones(1, 4, 4, 1, 1)
    blended = TileBlender(tiles, 5, device="cpu").blend([first, second])
    assert blended.shape == (1, 5, 4, 1, 1)
    expected = [0.5, 0.0, 0.75 / 1.5, 0.75 / 1.0, 1.0]
    assert blended[0, :, 0, 0, 0].tolist() == pytest.approx(expected)


def test_blend_accumulates_in_single_precision() -> None:
    """Half-precision predictions are summed without rounding to half precision again."""
    tiles = plan_tiles(40, 16, 15)
    value = torch.full((1, 16, 4, 1, 1), 1.0009765625, dtype=torch.float16)  # 1 + one step
    blended = TileBlender(tiles, 40, device="cpu").blend([value] * len(tiles))
    assert blended.dtype == torch.float32
    assert (blended - value.float()[0, 0, 0, 0, 0]).abs().max() < 1e-6


def test_predictions_are_added_as_they_come() -> None:
    """Of a thousand frames, one prediction at a time is alive."""
    tiles = plan_tiles(1000, 16, 6)
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def predictions() -> Iterator[torch.Tensor]:
        nonlocal most
        for _ in tiles:
            prediction = torch.ones(1, 16, 4, 1, 1)
            alive.append(weakref.ref(prediction))
            most = max(most, sum(ref() is not None for ref in alive))
            yield prediction
            del prediction

    blended = TileBlender(tiles, 1000, device="cpu").blend(predictions())
    assert blended.allclose(torch.ones(1))
    assert most <= 2
