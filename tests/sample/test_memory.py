"""The memory ladder."""

import pytest
import torch

from dispose_stages.errors import Reason, UnitError
from dispose_stages.sample.memory import Rung, descend, ladder


def test_rungs_ask_for_less_and_less() -> None:
    """From the configured batch to everything idle off the device."""
    assert [rung.tile_batch for rung in ladder(4)] == [4, 1, 1, 1]
    assert [rung.sequential_halves for rung in ladder(4)] == [False, False, True, True]
    assert ladder(4)[-1].offload_idle
    assert ladder(1) == ladder(4)[1:]


@pytest.mark.parametrize("failures", range(4))
def test_out_of_memory_goes_one_rung_down(failures: int) -> None:
    """Each failure costs a rung; the rung that worked is told."""
    tried: list[Rung] = []

    def attempt(rung: Rung) -> str:
        tried.append(rung)
        if len(tried) <= failures:
            raise torch.OutOfMemoryError("fake")
        return "done"

    result, rung = descend(ladder(4), attempt)
    assert result == "done"
    assert tried == ladder(4)[: failures + 1]
    assert rung == tried[-1]


def test_below_the_last_rung_the_unit_fails() -> None:
    """A typed reason, so that the unit can be retried elsewhere."""

    def attempt(_: Rung) -> None:
        raise torch.OutOfMemoryError("fake")

    with pytest.raises(UnitError) as error:
        descend(ladder(4), attempt)
    assert error.value.reason is Reason.OUT_OF_MEMORY


def test_other_errors_are_not_retried() -> None:
    """A defect stays a defect."""
    tried = []

    def attempt(rung: Rung) -> None:
        tried.append(rung)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        descend(ladder(4), attempt)
    assert len(tried) == 1


def test_the_failed_attempt_is_let_go() -> None:
    """Tensors of the failed attempt are free before the next one begins."""
    import weakref

    class Tensorlike:
        pass

    held: list[weakref.ref[Tensorlike]] = []

    def attempt(_: Rung) -> bool:
        if not held:
            activation = Tensorlike()
            held.append(weakref.ref(activation))
            raise torch.OutOfMemoryError("fake")
        return held[0]() is None

    freed, _ = descend(ladder(1), attempt)
    assert freed
