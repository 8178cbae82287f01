from __future__ import annotations

import pytest
import torch

from dispose_stages.models.context import (
    GuidanceBatch,
    LayerConstants,
    arrange,
    temporal_rows,
)


def constants(groups: int, entries: int, channels: int = 3) -> LayerConstants:
    values = torch.arange(groups * entries * channels, dtype=torch.float64)
    return LayerConstants(
        spatial=values.reshape(groups, entries, channels),
        temporal=-values.reshape(groups, entries, channels),
    )


@pytest.mark.parametrize("positions", [1, 2, 5, 6])
@pytest.mark.parametrize("entries", [1, 2, 3])
def test_row_takes_the_entry_of_its_number_modulo_the_group(positions: int, entries: int) -> None:
    """Row ``b * positions + p`` of a whole group reads entry ``row mod entries`` (Q0)."""
    batch = GuidanceBatch(groups=(0,) * entries, halves=tuple(range(entries)))
    raw = constants(1, entries)
    layer = arrange(raw, batch, "official")
    rows = temporal_rows(layer.temporal, torch.tensor(batch.halves), positions)
    rows = rows.expand(entries, positions, 3).flatten(0, 1)
    expected = raw.temporal[0][torch.arange(entries * positions) % entries]
    assert torch.equal(rows, expected)


@pytest.mark.parametrize("positions", [5, 6])
def test_stacked_tiles_and_single_halves_keep_the_order_of_their_pair(positions: int) -> None:
    """A half that runs alone, or among other tiles, reads what it reads within its pair."""
    raw = constants(1, 2)

    def rows(batch: GuidanceBatch) -> torch.Tensor:
        layer = arrange(raw, batch, "official")
        return temporal_rows(layer.temporal, torch.tensor(batch.halves), positions)

    pair = rows(GuidanceBatch.tiles(1))
    assert torch.equal(rows(GuidanceBatch.tiles(3)), pair.repeat(3, 1, 1))
    for half in (0, 1):
        assert torch.equal(rows(GuidanceBatch.tiles(1, (half,))), pair[half : half + 1])
        assert torch.equal(rows(GuidanceBatch.tiles(2, (half,))), pair[[half, half]])


def test_corrected_order_gives_every_row_its_own_half() -> None:
    """Without the quirk each half reads its own embedding only."""
    raw = constants(2, 2)
    batch = GuidanceBatch(groups=(1, 0, 1), halves=(0, 1, 1))
    layer = arrange(raw, batch, "corrected")
    assert torch.equal(layer.temporal[:, 0], -layer.spatial)
    assert torch.equal(layer.spatial[:, 0], torch.tensor([6.0, 3.0, 9.0], dtype=torch.float64))


def test_separate_clips_have_a_context_each() -> None:
    """Unrelated clips do not share contexts whatever the order."""
    raw = constants(3, 1)
    batch = GuidanceBatch.separate(3)
    official, corrected = (arrange(raw, batch, order) for order in ("official", "corrected"))
    assert torch.equal(official.temporal, corrected.temporal)
    assert torch.equal(official.spatial, raw.spatial[:, 0])


def test_batch_names_group_and_half_of_every_element() -> None:
    """Lists of different length are refused."""
    with pytest.raises(ValueError, match="same batch elements"):
        GuidanceBatch(groups=(0,), halves=(0, 1))
    assert len(GuidanceBatch.tiles(3)) == 6
