"""Recorded steps, with a twin of the CUDA graph that calls the function again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dispose_stages.sample.memory import Rung
from dispose_stages.sample.recording import Recorder, Results
from tests.sample.test_clip import sample
from tests.sample.tiny_clip import PARAMETERS, tiny_networks


class Twin:
    """Writes every replay's results to the same places, as a graph does."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, call: Callable[[], Results]) -> tuple[Results, Callable[[], None]]:
        self.captures += 1
        results = tuple(torch.empty_like(result).fill_(torch.nan) for result in call())

        def replay() -> None:
            self.replays += 1
            for kept, result in zip(results, call(), strict=True):
                kept.copy_(result)

        return results, replay


def test_recorded_calls_follow_their_inputs() -> None:
    """Each key has a recording of its own; results stay as they were when the next one comes."""
    twin = Twin()
    record = Recorder(twin)
    values = [torch.full((2,), float(n)) for n in range(8)]
    results = [record(n % 2, lambda x: (x * 2, x + 1), v) for n, v in enumerate(values)]
    assert [[r.tolist() for r in pair] for pair in results] == [
        [(v * 2).tolist(), (v + 1).tolist()] for v in values
    ]
    assert (twin.captures, twin.replays) == (2, 6)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("rung", "knobs", "recorded"),
    [
        (Rung("batch", 2), {"guidance_interval": (1.0, 50.0)}, 2),
        (Rung("single", 1), {"cache_interval": 2}, 2),
        (Rung("halves", 1, sequential_halves=True), {"cache_interval": 2}, 4),
        (Rung("offload", 1, sequential_halves=True, offload_idle=True), {"cache_interval": 2}, 0),
    ],
)
def test_shortened_steps_are_recorded_too(rung: Rung, knobs: dict[str, Any], recorded: int) -> None:
    """Every kind of step on its own; what one kind leaves for another survives its replays."""
    parameters = PARAMETERS.model_copy(update={"num_inference_steps": 6} | knobs)
    twin, plain = Twin(), tiny_networks()
    expected = sample(networks=plain, rung=rung, parameters=parameters)
    recording = replace(plain, capture=twin)
    assert torch.equal(sample(networks=recording, rung=rung, parameters=parameters), expected)
    assert twin.captures == recorded


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

    def broken(_: Callable[[], Results]) -> tuple[Results, Callable[[], None]]:
        raise RuntimeError("operation not permitted when stream is capturing")

    record = Recorder(broken)
    results = [record("k", lambda x: (-x,), torch.tensor(float(n)))[0] for n in range(4)]
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
        (actual,), (expected,) = (r("k", lambda x: (layer(x),), value) for r in (record, plain))
        assert torch.equal(actual, expected)
    assert not record.failure
