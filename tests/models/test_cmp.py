from __future__ import annotations

import pytest
import torch

from dispose_stages.geometry.dense_field import FLOW_LIMIT
from dispose_stages.models.cmp import expected_flow
from tests.weights.loading.test_load_cmp import small


def test_flow_is_the_expectation_over_bins() -> None:
    """Equal logits give no motion, one certain bin its centre, and never more than the limit."""
    logits = torch.zeros((1, 198, 1, 1))
    torch.testing.assert_close(expected_flow(logits), torch.zeros((1, 2, 1, 1)), atol=1e-5, rtol=0)
    logits[0, 98], logits[0, 99] = 1e4, 1e4
    step = 2 * FLOW_LIMIT / 99
    expected = torch.tensor([FLOW_LIMIT - step / 2, -FLOW_LIMIT + step / 2])
    torch.testing.assert_close(expected_flow(logits).flatten(), expected)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-10), (torch.float32, 2e-4)])
def test_batch_equals_frame_by_frame(dtype: torch.dtype, limit: float) -> None:
    """Frames share the encoded image: each alone gives what it gives in company."""
    network = small().to(dtype)
    generator = torch.Generator().manual_seed(1)
    sparse = torch.randn((4, 4, 64, 64), generator=generator).to(dtype)
    picture = torch.rand((1, 3, 64, 64), generator=generator).to(dtype)
    with torch.inference_mode():
        image = network.encode_image(picture)
        batch = network.propagate(image, sparse)
        single = torch.cat(
            [network.propagate(network.encode_image(picture), frame[None]) for frame in sparse]
        )
    assert (batch - single).abs().max() <= limit
