"""The memory ladder."""

from dispose_stages.sample.memory import fitting_ladder, ladder


def test_rungs_ask_for_less_and_less() -> None:
    """From the configured batch to everything idle off the device."""
    assert [rung.tile_batch for rung in ladder(4)] == [4, 1, 1, 1]
    assert [rung.sequential_halves for rung in ladder(4)] == [False, False, True, True]
    assert ladder(4)[-1].offload_idle
    assert ladder(1) == ladder(4)[1:]


def rows(height: int, width: int) -> int:
    return 2 * 16 * (height // 8) * (width // 8)


def test_a_card_decides_where_the_ladder_begins() -> None:
    """Small videos fill a large card in batches, large ones one by one, halves in turn at last."""
    h100, consumer, small = 85e9, 24e9, 8e9
    assert fitting_ladder(int(h100), rows(576, 1024), 2) == ladder(1)
    assert fitting_ladder(int(h100), rows(256, 448), 2) == ladder(5)
    assert fitting_ladder(int(consumer), rows(576, 1024), 2) == ladder(1)
    assert fitting_ladder(int(consumer), rows(576, 1024), 4) == ladder(1)[1:]
    assert fitting_ladder(int(small), rows(576, 1024), 2)[0].sequential_halves
