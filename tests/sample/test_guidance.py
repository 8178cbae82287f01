"""Classifier-free guidance."""

import torch

from dispose_stages.config import Parameters, Sampling
from dispose_stages.sample.guidance import guidance_scales, guide
from dispose_stages.sample.unit import SampleParams


def test_scales_rise_linearly_over_the_clip() -> None:
    """The reference gets the lowest scale, the last frame the highest."""
    assert guidance_scales(1.0, 3.0, 5).tolist() == [1.0, 1.5, 2.0, 2.5, 3.0]


def test_guidance_is_needed_above_one() -> None:
    """One frame above 1 is enough; at 1 the conditional half is the result."""

    def guided(lowest: float, highest: float) -> bool:
        parameters = Parameters(guidance_min=lowest, guidance_max=highest)
        return SampleParams.of(parameters, Sampling()).guided

    assert guided(1.0, 1.5)
    assert guided(2.0, 0.5)
    assert not guided(1.0, 1.0)
    assert not guided(0.0, 0.5)


def test_each_frame_is_guided_by_its_own_scale() -> None:
    """Scale 1 gives the conditional half, scale 2 as much again beyond it."""
    halves = torch.stack([torch.zeros(2, 4, 1, 1), torch.ones(2, 4, 1, 1)])
    guided = guide(halves, torch.tensor([1.0, 2.0]))
    assert guided[:, 0, 0, 0].tolist() == [1.0, 2.0]


def test_a_lone_half_is_returned_as_it_is() -> None:
    """Without guidance the scales do not matter."""
    half = torch.randn(1, 3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(guide(half, torch.full((3,), 7.0)), half[0])
