"""One tile-step with guidance, of this project and of the original, on any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, Literal
from unittest.mock import patch

import torch
from torch import Tensor

from dispose_stages.geometry.tiles import plan_tiles
from dispose_stages.models import fused
from dispose_stages.models.control_net import build_control_net
from dispose_stages.models.temporal_convolution import channels_last
from dispose_stages.models.transformer import pack_projections
from dispose_stages.models.unet import build_unet
from dispose_stages.sample.binding import BoundNetwork, guidance_contexts
from dispose_stages.sample.conditions import ClipConditions
from dispose_stages.sample.denoise import DenoisingState, denoise
from dispose_stages.sample.guidance import guidance_scales
from dispose_stages.sample.kept_frames import KeptFrames
from dispose_stages.sample.memory import Rung
from dispose_stages.sample.predict import Predictor
from dispose_stages.sample.schedule import noise_levels
from dispose_stages.sample.shortcuts import StepKind
from dispose_stages.sample.tiles import Tile, TileBlender
from tests.bench.traffic.memory import peak_bytes
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


class TileStep:
    """Networks with random weights and everything that one tile-step reads.

    Args:
        size: Of networks and video.
        device: Where everything is.
        dtype: Of weights and activations.
        seed: Of weights and inputs.
    """

    def __init__(
        self, size: Size, device: torch.device, dtype: torch.dtype, *, seed: int = 0
    ) -> None:
        torch.manual_seed(seed)
        self.size, self.device, self.dtype = size, device, dtype
        self.settings = config(size.widths, size.heads, size.context)
        with torch.device(device):
            unet, control_net = build_unet(self.settings), build_control_net(self.settings)
            rows, columns = size.height // 8, size.width // 8
            self.noisy = torch.randn(size.frames, 4, rows, columns)
            self.image = torch.randn(4, rows, columns)
            self.embedding = torch.randn(1, size.context).to(dtype)
            self.pose = torch.randn(size.frames, size.widths[0], rows, columns).to(dtype)
            self.fields = torch.randn(2, size.frames - 1, 2, size.height, size.width).to(dtype)
            self.points = [
                torch.randn(size.frames, width, rows // factor, columns // factor).to(dtype)
                for width, factor in zip(size.widths, (2, 4, 8, 8), strict=True)
            ]
            self.timestep, self.ids = torch.full((), 0.5), torch.tensor([[6.0, 127.0, 0.0]])
        self.unet = unet.to(device, dtype).eval().requires_grad_(requires_grad=False)
        self.control_net = control_net.to(device, dtype).eval().requires_grad_(requires_grad=False)

    def ours(
        self, kinds: Sequence[StepKind] = (StepKind(),), **options: Any
    ) -> Callable[[], Tensor]:
        """Steps of the given kinds, one after the other; `options` as of `predictor`."""
        predict = self.predictor(**options)
        tiles = [Tile.of(range(self.size.frames), self.device)]

        def step() -> Tensor:
            for kind in kinds:
                (prediction,) = predict(self.noisy, self.timestep, tiles, kind)
            return prediction

        return step

    def predictor(
        self,
        *,
        last: bool = True,
        packed: bool = True,
        compat: Literal["official", "corrected"] = "official",
    ) -> Predictor:
        """The package's way; what is constant over a clip is computed here, once.

        Args:
            compat: Order of the temporal contexts; ``corrected`` is that of diffusers' blocks.
            last: Keep channels last in the weights' memory.
            packed: Query, key and value in one product.
        """
        networks = (self.unet, self.control_net)
        if last:
            for network in networks:
                channels_last(network)
        if packed:
            for network in networks:
                pack_projections(network)
        height, width = self.size.height, self.size.width
        still = self.control_net.embed_stillness(height, width)
        moving = self.control_net.embed_motion(*self.fields)
        conditions = ClipConditions(
            image=self.image,
            pose=self._kept(self.pose),
            motion=self._kept(still, moving),
            points=tuple(map(self._kept, self.points)),
        )
        contexts = guidance_contexts(self.embedding, guided=True)
        bound = [BoundNetwork(net, contexts, self.ids, compat=compat) for net in networks]
        rung = Rung("single_tile", 1)
        return Predictor(conditions, *bound, guided=True, rung=rung, dtype=self.dtype)

    def _kept(self, *pieces: Tensor) -> KeptFrames:
        kept = KeptFrames(self.size.frames, pieces[0].device)
        for piece in pieces:
            kept.add(piece)
        return kept

    def original(self) -> Callable[[], Tensor]:
        """The same numbers in the original's way; run it under autocast."""
        with torch.device("meta"):
            network = Original(self.settings).to("meta", self.dtype)
        network.take_weights(self.unet, self.control_net)
        network.eval().requires_grad_(requires_grad=False)
        inputs = self._original_inputs()
        return lambda: network(inputs).reshape(2, self.size.frames, *self.noisy.shape[1:])

    def _original_inputs(self) -> dict[str, Any]:
        still = torch.zeros_like(self.fields[:, :1])
        dense, trajectory = torch.cat([still, self.fields], dim=1)
        shown = self.image.expand(self.noisy.shape)
        halves = [torch.cat([self.noisy, x], 1) for x in (torch.zeros_like(shown), shown)]
        return {
            "latents": torch.stack(halves).to(self.dtype),
            "timestep": self.timestep[None],
            "ids": self.ids.expand(2, -1),
            "context": torch.stack([torch.zeros_like(self.embedding), self.embedding]),
            "pose": torch.cat([torch.zeros_like(self.pose), self.pose]),
            "dense": dense,
            "trajectory": trajectory,
            "points": [level.repeat(2, 1, 1, 1) for level in self.points],
        }


SWITCHES = ("fused kernels", "gate in the product", "residual in the product", "packed projections")
"""Changes that can be switched off alone."""


def without(switch: str) -> AbstractContextManager[object]:
    """One of `SWITCHES` off, as far as layers ask; packing is an argument of `TileStep.ours`."""
    asks = dict(zip(SWITCHES[:3], ("applies", "gates", "adds"), strict=True))
    if switch not in asks:
        return nullcontext()
    return patch.object(fused, asks[switch], lambda *_: False)


def count_around(size: Size, frames: int) -> Trace:
    """What one denoising step of a clip does beside the networks: blending, guidance, Euler."""
    tiles = plan_tiles(frames, size.frames, 6)
    shape = (4, size.height // 8, size.width // 8)
    halves = torch.empty(2, size.frames, *shape, device="meta", dtype=torch.float16)
    state = DenoisingState(0, torch.empty(frames, *shape, device="meta"))
    levels = noise_levels(1, 0.002, 700.0)
    blender = TileBlender(tiles, frames, device="meta")
    scales = guidance_scales(2.0, 2.0, frames, device="meta")
    with torch.no_grad(), Tracer() as tracer:
        denoise(
            state,
            lambda *_: [halves for _ in tiles],
            levels,
            blender,
            scales,
            kinds=[StepKind()],
        )
    return tracer.trace


def held_bytes(size: Size) -> int:
    """The most that one step of ours holds at once in float16, beside weights and conditions."""
    with torch.no_grad(), patch.object(fused, "applies", lambda _: True):
        step = TileStep(size, torch.device("meta"), torch.float16).ours()
        step()
        with CudaAttention(None):
            return peak_bytes(step)


def count(
    size: Size,
    *,
    original: bool = False,
    off: str = "",
    kinds: Sequence[StepKind] = (StepKind(),),
) -> Trace:
    """Everything that one step does in float16; the second step, when constants are there.

    Args:
        size: Of networks and video.
        original: Plain diffusers blocks under autocast.
        off: One of `SWITCHES`.
        kinds: What is run of ours, more than one step if these are more than one.
    """
    with torch.no_grad():
        tile = TileStep(size, torch.device("meta"), torch.float16)
        packed = off != "packed projections"
        step = tile.original() if original else tile.ours(kinds, packed=packed)
        if not original:
            step()
        with Tracer() as tracer, ExitStack() as stack:
            stack.enter_context(CudaAttention(tracer))
            # As on CUDA; the meta device knows the shapes of the fused kernels' results.
            stack.enter_context(patch.object(fused, "applies", lambda _: True))
            stack.enter_context(without(off))
            if original:
                stack.enter_context(Autocast())
            step()
    return tracer.trace
