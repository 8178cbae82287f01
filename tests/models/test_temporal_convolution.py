import pytest
import torch
from torch import nn

from dispose_stages.models.temporal_convolution import (
    TemporalConvolution,
    use_temporal_convolutions,
)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("bias", [False, True])
def test_equals_the_general_convolution(kernel: int, bias: bool) -> None:
    """Over (frames, pixels) it computes what the 3-D convolution computes, gradients included."""
    torch.manual_seed(0)
    plain = nn.Conv3d(6, 4, (kernel, 1, 1), padding=(kernel // 2, 0, 0), bias=bias).double()
    network = nn.Sequential(plain)
    x = torch.randn(2, 6, 5, 3, 7, dtype=torch.float64, requires_grad=True)
    expected = network(x)
    (expected_gradient,) = torch.autograd.grad(expected.square().sum(), plain.weight)
    use_temporal_convolutions(network)
    assert type(network[0]) is TemporalConvolution
    actual = network(x)
    (gradient,) = torch.autograd.grad(actual.square().sum(), plain.weight)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-12)


def test_other_convolutions_stay() -> None:
    """A kernel that reaches over pixels, a stride, or groups keep the general code."""
    network = nn.Sequential(
        nn.Conv3d(2, 2, 3),
        nn.Conv3d(2, 2, (3, 1, 1), stride=(2, 1, 1)),
        nn.Conv3d(2, 2, (3, 1, 1), groups=2),
        nn.Conv3d(2, 2, (3, 1, 1), padding=(1, 1, 1)),
    )
    use_temporal_convolutions(network)
    assert not any(type(module) is TemporalConvolution for module in network)
