"""Temporal tiles: which frames are denoised together; free of torch.

A clip longer than the networks' window is denoised in overlapping tiles at every step. Frame 0,
the reference, opens every tile (algorithm §9).
"""

from __future__ import annotations

from dispose_stages.errors import ConfigError


def tile_indices(frames: int, size: int, overlap: int) -> list[list[int]]:
    """Frames of every tile.

    Tile ``k`` holds frame 0 and frames ``s + 1 .. s + size - 1`` with ``s = k * (size - overlap)``.
    If the last tile stops short of the last frame, one more ends on it. A clip shorter than a
    tile is one tile of its own length.

    Args:
        frames: Length of the clip, reference included.
        size: Frames per tile, reference included.
        overlap: By how many frames the starts of neighbouring tiles are closer than `size`.

    Raises:
        ConfigError: The overlap is not smaller than the tile, or a number is out of range.
    """
    if frames < 1 or size < 1 or overlap < 0:
        raise ConfigError(
            f"tiles need at least one frame and no negative overlap, "
            f"not {frames} frames in tiles of {size} overlapping by {overlap}"
        )
    if overlap >= size:
        raise ConfigError(f"tile overlap {overlap} must be smaller than the tile size {size}")
    if frames <= size:
        return [list(range(frames))]
    starts = range(0, frames - size + 1, size - overlap)
    tiles = [[0, *range(start + 1, start + size)] for start in starts]
    if tiles[-1][-1] < frames - 1:
        tiles.append([0, *range(frames - size + 1, frames)])
    return tiles


def plan_tiles(frames: int, size: int, overlap: int) -> list[list[int]]:
    """`tile_indices`, with every frame in a tile.

    An overlap of 0 can leave out the frame between two tiles, because the reference takes its
    place; the original divides by a weight of zero there. Such a clip gets an overlap of 1, which
    makes the driving frames of neighbouring tiles follow one another without a gap.

    Raises:
        ConfigError: As `tile_indices`, or for tiles that hold nothing but the reference.
    """
    if size < 2 <= frames:
        raise ConfigError("a tile needs the reference and at least one driving frame")
    tiles = tile_indices(frames, size, overlap)
    if len({frame for tile in tiles for frame in tile}) < frames:
        return tile_indices(frames, size, 1)
    return tiles
