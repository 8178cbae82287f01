"""The memory ladder."""

from dispose_stages.sample.memory import ladder


def test_rungs_ask_for_less_and_less() -> None:
    """From the configured batch to everything idle off the device."""
    assert [rung.tile_batch for rung in ladder(4)] == [4, 1, 1, 1]
    assert [rung.sequential_halves for rung in ladder(4)] == [False, False, True, True]
    assert ladder(4)[-1].offload_idle
    assert ladder(1) == ladder(4)[1:]
