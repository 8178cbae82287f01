"""Counts of one tile-step at small width; they are exact, so any change shows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dispose_stages.sample import memory
from tests.bench.traffic.fusion import fused
from tests.bench.traffic.steps import FULL, SMALL, SWITCHES, count, held_bytes
from tests.bench.traffic.tracer import CudaAttention, Trace, Tracer

EXPECTED = json.loads(Path(__file__).with_name("expected.json").read_text())


@pytest.fixture(scope="module")
def ours() -> Trace:
    return count(SMALL)


def test_a_step_costs_what_it_did(ours: Trace) -> None:
    """FLOPs, bytes, kernels and casts of a step; where one falls, write the new ones down."""
    assert {"eager": ours.totals(), "fused": fused(ours).totals()} == EXPECTED


def test_every_change_saves_traffic(ours: Trace) -> None:
    """Each of the four switched off alone moves more bytes in more kernels."""
    full = ours.totals()
    for name in SWITCHES:
        less = count(SMALL, off=name).totals()
        assert less["bytes"] > full["bytes"], name
        assert less["kernels"] > full["kernels"], name


def test_a_step_never_waits_for_the_device(ours: Trace) -> None:
    """Nothing is read back and nothing comes from the host's memory."""
    assert ours.syncs == 0


def test_a_step_costs_less_than_the_originals(ours: Trace) -> None:
    """Fewer FLOPs, bytes and kernels, and hardly a cast, beside plain diffusers blocks."""
    plain, own = count(SMALL, original=True).totals(), ours.totals()
    assert own["flop"] < 0.96 * plain["flop"]
    assert own["bytes"] < 0.65 * plain["bytes"]
    assert own["kernels"] < 0.75 * plain["kernels"]
    assert own["casts"] < 0.1 * plain["casts"]


def test_the_tracer_counts_by_its_rules() -> None:
    """A product, an expanded operand, attention, a cast and a value that is read back."""
    a, b = torch.empty(8, 4, device="meta"), torch.empty(4, 6, device="meta")
    query = torch.empty(2, 3, 5, 7, device="meta")
    with Tracer() as tracer, CudaAttention(tracer):
        product = a @ b
        total = product + torch.empty(1, 6, device="meta").expand(8, 6)
        torch.nn.functional.scaled_dot_product_attention(query, query, query)
        total.view(6, 8).half()
        total.sum().item()
    mm, add, attention, cast, _sum = tracer.trace.kernels
    assert (mm.flops, mm.bytes) == (2 * 8 * 4 * 6, 4 * (32 + 24 + 48))
    assert add.bytes == 4 * (48 + 6 + 48)
    assert (attention.flops, attention.bytes) == (4 * 2 * 3 * 5 * 5 * 7, 4 * 4 * 210)
    assert cast.bytes == 6 * 48
    assert (tracer.trace.casts, tracer.trace.syncs) == (1, 1)


def test_what_a_step_holds_grows_with_its_latents() -> None:
    """Per latent cell it is what the memory ladder of the full width reckons with."""
    tall = replace(SMALL, height=2 * SMALL.height)
    assert held_bytes(tall) == pytest.approx(2 * held_bytes(SMALL), rel=0.01)
    per_cell = held_bytes(FULL) / (2 * FULL.frames * (FULL.height // 8) * (FULL.width // 8))
    assert per_cell == pytest.approx(memory._BYTES_PER_ROW / 1.5, rel=0.01)


def test_fusion_keeps_what_is_read_later() -> None:
    """A chain between two products is one kernel that reads and writes only its ends."""
    a = torch.empty(8, 8, device="meta")
    with Tracer() as tracer:
        ((a @ a).relu() * 2 + a).sigmoid() @ a
    first, chain, last = fused(tracer.trace).kernels
    assert (first.name, last.name) == ("aten.mm", "aten.mm")
    assert chain.bytes == 4 * 64 * 3
