"""Latents to 8-bit frames: chunked temporal VAE decoding (algorithm §9, golden Q13)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from dispose_stages.errors import Reason, UnitError
from dispose_stages.faults import descend
from dispose_stages.models.arithmetic import full_float32
from dispose_stages.models.autoencoder import TemporalAutoencoder
from dispose_stages.models.decoder_memory import frame_by_frame, on_host

_logger = logging.getLogger(__name__)

Decoder = Callable[[Float[Tensor, "n 4 h w"]], Float[Tensor, "n 3 H W"]]
"""Decodes the frames it is given as one clip; pixel values in [-1, 1]."""


def decode_chunks(
    latents: Float[Tensor, "f 4 h w"],
    decode: Decoder,
    *,
    chunk_size: int,
    scaling_factor: float,
    dtype: torch.dtype,
    context: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[Float32[Tensor, "n 3 H W"]]:
    """Decode a clip in chunks, frame 0 included.

    Every chunk is decoded as a clip of its own, so `chunk_size` and `context` change the result
    near the seams and must never be lowered silently to save memory.

    Args:
        latents: Denoised, in the VAE's scaled space.
        decode: Temporal VAE decoder.
        chunk_size: Frames per chunk.
        context: Frames on both sides that are decoded with a chunk and thrown away; the original
            has none.
        scaling_factor: Of the VAE's latent space (0.18215).
        dtype: In which the decoder computes.
        device: Where it computes; a chunk goes there when its turn comes.

    Yields:
        Decoded frames in [-1, 1] (not clamped), float32, on the decoder's device.
    """
    for start in range(0, len(latents), chunk_size):
        first, end = max(start - context, 0), start + chunk_size
        unscaled = latents[first : end + context].to(device).float() / scaling_factor
        yield decode(unscaled.to(dtype))[start - first : end - first].float()


def to_bytes(frames: Float32[Tensor, "*axes"]) -> UInt8[Tensor, "*axes"]:
    """Scale [0, 1] to 255 and truncate, as the original (Q10)."""
    return (frames * 255).to(torch.uint8)


def to_pixels(decoded: Float32[Tensor, "n 3 H W"]) -> UInt8[Tensor, "n H W 3"]:
    """Decoded frames, clamped, as bytes; channels last for the encoder."""
    frames = to_bytes((decoded / 2 + 0.5).clamp(0, 1))
    return frames.permute(0, 2, 3, 1).contiguous()


def decode_video(
    latents: Float[Tensor, "f 4 h w"],
    decode: Decoder,
    *,
    chunk_size: int,
    scaling_factor: float,
    dtype: torch.dtype,
    context: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[UInt8[Tensor, "n H W 3"]]:
    """Frames of the output video: `decode_chunks` as pixels, without frame 0 (the reference).

    Yields:
        The frames of one chunk; nothing for a chunk that held the reference alone.
    """
    chunks = decode_chunks(
        latents,
        decode,
        chunk_size=chunk_size,
        scaling_factor=scaling_factor,
        dtype=dtype,
        context=context,
        device=device,
    )
    for index, chunk in enumerate(chunks):
        frames = chunk[1:] if index == 0 else chunk
        if len(frames):
            yield to_pixels(frames)


class VaeDecoder:
    """The temporal VAE as a decoder of one chunk; callable from any thread.

    Half precision overflows in some decoders; such a chunk is decoded again in float32.
    """

    def __init__(self, vae: TemporalAutoencoder) -> None:
        self._vae = vae
        self.dtype = vae.quant_conv.weight.dtype
        self.scaling_factor = vae.scaling_factor

    def __call__(self, latents: Tensor) -> Tensor:
        """Pixel values in [-1, 1] of latents that are not scaled any more.

        Raises:
            UnitError: ``not_finite`` in float32 too.
        """
        # Inference mode belongs to a thread, so it is entered here, where the work is done.
        with torch.inference_mode(), full_float32():
            frames = self._decode(latents)
            if not bool(torch.isfinite(frames).all()) and self.dtype != torch.float32:
                _logger.info("a chunk is decoded again in float32: half precision overflowed")
                self._vae.to(torch.float32)
                try:
                    frames = self._decode(latents.float())
                finally:
                    self._vae.to(self.dtype)
            if not bool(torch.isfinite(frames).all()):
                raise UnitError(Reason.NUMERIC, "the decoded frames are not finite")
            return frames

    def _decode(self, latents: Tensor) -> Tensor:
        def plain() -> Tensor:
            return self._vae.decode(latents, len(latents))

        def in_turns() -> Tensor:
            with frame_by_frame(self._vae.decoder):
                return plain()

        def on_the_host() -> Tensor:
            with on_host(self._vae):
                return self._vae.decode(latents.cpu().float(), len(latents))

        frames, rung = descend({"chunk": plain, "frame_by_frame": in_turns, "host": on_the_host})
        _logger.debug("decoded on memory rung %r", rung)
        return frames
