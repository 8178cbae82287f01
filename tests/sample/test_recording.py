"""Recorded steps, with a twin of the CUDA graph that calls the function again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dispose_stages.sample.memory import Rung
from dispose_stages.sample.recording import Recorder
from tests.sample.test_clip import sample
from tests.sample.tiny_clip import tiny_networks


class Twin:
    """Writes every replay's result to the same place, as a graph does."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, call: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        self.captures += 1
        result = torch.empty_like(call()).fill_(torch.nan)

        def replay() -> None:
            self.replays += 1
            result.copy_(call())

        return result, replay


def test_recorded_calls_follow_their_inputs() -> None:
    """Each key has a recording of its own; results stay as they were when the next one comes."""
    twin = Twin()
    record = Recorder(twin)
    values = [torch.full((2,), float(n)) for n in range(8)]
    results = [record(n % 2, lambda x, y: x * 2 + (0 if y is None else y), v, None)
               for n, v in enumerate(values)]  # fmt: skip
    assert [r.tolist() for r in results] == [(v * 2).tolist() for v in values]
    assert (twin.captures, twin.replays) == (2, 6)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("rung", "recorded"),
    [
        (Rung("single", 1), 1),
        (Rung("batch", 2), 1),
        (Rung("halves", 1, sequential_halves=True), 2),
        (Rung("offload", 1, sequential_halves=True, offload_idle=True), 0),
    ],
)
def test_a_recorded_clip_has_the_same_bits(rung: Rung, recorded: int) -> None:
    """On every rung; where networks come and go nothing is recorded."""
    twin, plain = Twin(), tiny_networks()
    expected = sample(networks=plain, rung=rung)
    actual = sample(networks=replace(plain, capture=twin), rung=rung)
    assert torch.equal(actual, expected)
    assert twin.captures == recorded
    assert twin.replays >= recorded


def test_what_cannot_be_recorded_runs_plainly(caplog: pytest.LogCaptureFixture) -> None:
    """Said once; the clip goes on."""

    def broken(_: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        raise RuntimeError("operation not permitted when stream is capturing")

    record = Recorder(broken)
    results = [record("k", torch.neg, torch.tensor(float(n))) for n in range(4)]
    assert [r.item() for r in results] == [0, -1, -2, -3]
    assert "not permitted" in record.failure
    assert len(caplog.messages) == 1


@pytest.mark.gpu
@torch.inference_mode()
def test_a_cuda_graph_has_the_bits_of_plain_calls() -> None:
    """The real capture, of a convolution and a product."""
    from dispose_stages.sample.recording import cuda_graph

    layer = torch.nn.Conv2d(8, 8, 3, padding=1).cuda()
    record, plain = Recorder(cuda_graph), Recorder(None)
    for seed in range(4):
        value = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(seed)).cuda()
        assert torch.equal(record("k", layer, value), plain("k", layer, value))
    assert not record.failure
