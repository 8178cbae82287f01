"""The decoder's memory ladder: the same frames with less memory, one rung at a time.

How many frames are decoded together is no rung, because it changes the result (golden Q13). Within
a chunk, layers over space treat every frame by itself, so they may take the frames in turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_OVER_SPACE = ("spatial_res_block", "upsamplers.0")
"""Ends of the names, in the published state dict, of the decoder's large layers over space."""


@contextmanager
def frame_by_frame(decoder: nn.Module) -> Iterator[None]:
    """Layers over space take one frame at a time."""
    with ExitStack() as undo:
        for name, layer in decoder.named_modules():
            if name.endswith(_OVER_SPACE):
                layer.forward = _in_turns(layer.forward)
                undo.callback(delattr, layer, "forward")
        yield


def _in_turns(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def in_turns(frames: Tensor, *arguments: Any, **options: Any) -> Tensor:
        each = torch.split(frames, 1)
        return torch.cat([forward(frame, *arguments, **options) for frame in each])

    return in_turns


@contextmanager
def on_host(network: nn.Module) -> Iterator[None]:
    """The network computes on the CPU, in float32."""
    parameter = next(network.parameters())
    device, dtype = parameter.device, parameter.dtype
    network.to("cpu", torch.float32)
    try:
        yield
    finally:
        network.to(device, dtype)
