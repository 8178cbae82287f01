from __future__ import annotations

import torch
from torch import nn

from dispose_stages.models.temporal_convolution import TemporalConvolution, channels_last


def test_equals_the_general_convolution() -> None:
    """Over (frames, pixels) it computes what the 3-D convolution computes, gradients included."""
    torch.manual_seed(0)
    own = TemporalConvolution(6).double()
    plain = nn.Conv3d(6, 6, (3, 1, 1), padding=(1, 0, 0)).double()
    plain.load_state_dict(own.state_dict())
    x = torch.randn(2, 6, 5, 3, 7, dtype=torch.float64)
    expected, actual = plain(x), own(x.flatten(3)).reshape(x.shape)
    (expected_gradient,) = torch.autograd.grad(expected.square().sum(), plain.weight)
    (gradient,) = torch.autograd.grad(actual.square().sum(), own.weight)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-12)


def test_channels_come_last_in_every_kernel() -> None:
    """Values and names stay; a convolution over time keeps its five axes."""
    network = nn.Sequential(nn.Conv2d(4, 8, 3), TemporalConvolution(8), nn.Linear(2, 2))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    channels_last(network)
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    plane, clip = after["0.weight"], after["1.weight"].squeeze(-1)
    assert plane.is_contiguous(memory_format=torch.channels_last)
    assert clip.is_contiguous(memory_format=torch.channels_last)
