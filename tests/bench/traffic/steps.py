"""One tile-step with guidance, of this project and of the original, on any device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from dispose_stages.models import fused
from dispose_stages.models.control_net import build_control_net
from dispose_stages.models.temporal_convolution import channels_last
from dispose_stages.models.unet import build_unet
from dispose_stages.sample.binding import BoundNetwork, guidance_contexts
from dispose_stages.sample.conditions import ClipConditions
from dispose_stages.sample.memory import Rung
from dispose_stages.sample.predict import Predictor
from tests.bench.traffic.original import Original
from tests.bench.traffic.tracer import Autocast, CudaAttention, Trace, Tracer

_ATTENDS = "CrossAttnDownBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"


def config(widths: tuple[int, ...], heads: tuple[int, ...], context: int) -> dict[str, Any]:
    """A UNet of Stable Video Diffusion's form."""
    return {
        "in_channels": 8,
        "out_channels": 4,
        "down_block_types": (_ATTENDS[0],) * 3 + ("DownBlockSpatioTemporal",),
        "up_block_types": ("UpBlockSpatioTemporal",) + (_ATTENDS[1],) * 3,
        "block_out_channels": widths,
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 768,
        "layers_per_block": 2,
        "cross_attention_dim": context,
        "transformer_layers_per_block": 1,
        "num_attention_heads": heads,
    }


@dataclass(frozen=True)
class Size:
    """What is counted or timed.

    Attributes:
        widths: Channels per block.
        heads: Attention heads per block.
        context: Width of the image embedding.
        height: Of the video, pixels.
        width: Of the video, pixels.
        frames: Per tile.
    """

    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    heads: tuple[int, ...] = (5, 10, 20, 20)
    context: int = 1024
    height: int = 576
    width: int = 1024
    frames: int = 16


FULL = Size()
SMALL = Size((32, 64, 64, 64), (2, 4, 4, 4), 32, 128, 64, 4)


def our_step(size: Size, device: torch.device, dtype: torch.dtype) -> Callable[[], Tensor]:
    """Latents of one tile to its prediction; everything of the clip is computed beforehand."""
    with torch.device(device):
        settings = config(size.widths, size.heads, size.context)
        unet = build_unet(settings).to(device, dtype).eval().requires_grad_(False)
        control_net = build_control_net(settings).to(device, dtype).eval().requires_grad_(False)
        rows, columns = size.height // 8, size.width // 8
        levels = [
            torch.randn(size.frames, width, rows // factor, columns // factor, dtype=dtype)
            for width, factor in zip(size.widths, (2, 4, 8, 8), strict=True)
        ]
        frame = (size.frames, size.widths[0], rows, columns)
        conditions = ClipConditions(
            image=torch.randn(4, rows, columns),
            pose=torch.randn(frame, dtype=dtype).to(memory_format=torch.channels_last),
            motion=torch.randn(frame, dtype=dtype).to(memory_format=torch.channels_last),
            points=tuple(levels),
        )
        contexts = guidance_contexts(torch.randn(1, size.context, dtype=dtype), guided=True)
        ids = torch.zeros(1, 3)
        noisy, timestep = torch.randn(size.frames, 4, rows, columns), torch.zeros(())
        tiles = [torch.arange(size.frames)]
    for network in (unet, control_net):
        channels_last(network)
    bound = [BoundNetwork(net, contexts, ids, compat="official") for net in (unet, control_net)]
    predictor = Predictor(conditions, *bound, guided=True, rung=Rung("single_tile", 1), dtype=dtype)
    return lambda: predictor(noisy, timestep, tiles)[0]


def original_step(size: Size, device: torch.device, dtype: torch.dtype) -> Callable[[], Tensor]:
    """The same in the original's way; run it under autocast."""
    with torch.device(device):
        network = Original(config(size.widths, size.heads, size.context))
        network = network.to(device, dtype).eval().requires_grad_(False)
        rows, columns = size.height // 8, size.width // 8
        field = (size.frames, 2, size.height, size.width)
        inputs = {
            "latents": torch.randn(2, size.frames, 8, rows, columns, dtype=dtype),
            "timestep": torch.zeros(1),
            "ids": torch.zeros(2, 3),
            "context": torch.randn(2, 1, size.context, dtype=dtype),
            "pose": torch.randn(2 * size.frames, size.widths[0], rows, columns, dtype=dtype),
            "dense": torch.randn(field, dtype=dtype),
            "trajectory": torch.randn(field, dtype=dtype),
            "points": [
                torch.randn(2 * size.frames, width, rows // factor, columns // factor, dtype=dtype)
                for width, factor in zip(size.widths, (2, 4, 8, 8), strict=True)
            ],
        }
    return lambda: network(inputs)


def count(size: Size, *, original: bool) -> Trace:
    """Everything that one step does in float16; the second step, when constants are there."""
    build = original_step if original else our_step
    step = build(size, torch.device("meta"), torch.float16)
    with torch.no_grad():
        if not original:
            step()
        with Tracer() as tracer, ExitStack() as stack:
            stack.enter_context(CudaAttention(tracer))
            # As on CUDA; the meta device knows the shapes of the fused kernels' results.
            stack.enter_context(patch.object(fused, "applies", lambda _: True))
            if original:
                stack.enter_context(Autocast())
            step()
    return tracer.trace
