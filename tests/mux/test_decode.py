"""Chunked decoding to 8-bit frames."""

import torch
from torch import Tensor

from dispose_stages.models.video_decoder import decode_chunks, decode_video, to_pixels


def fake_decode(chunk: Tensor) -> Tensor:
    """A decoder whose output depends on the chunk, as a temporal one's does."""
    pixels = chunk[:, :3].repeat_interleave(8, -1).repeat_interleave(8, -2)
    return pixels + len(chunk)


def latents(frames: int) -> Tensor:
    return torch.arange(float(frames))[:, None, None, None].expand(frames, 4, 2, 3)


def test_chunks_hold_the_reference_and_are_clips_of_their_own() -> None:
    """Five frames in chunks of two: 2, 2, 1; latents are divided by the factor."""
    chunks = list(
        decode_chunks(
            latents(5), fake_decode, chunk_size=2, scaling_factor=0.5, dtype=torch.float32
        )
    )
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]
    values = torch.cat(chunks)[:, 0, 0, 0]
    assert values.tolist() == [0 / 0.5 + 2, 1 / 0.5 + 2, 2 / 0.5 + 2, 3 / 0.5 + 2, 4 / 0.5 + 1]


def test_context_is_decoded_with_a_chunk_and_thrown_away() -> None:
    """Five frames in chunks of two, each with up to two on both sides: four, five, three."""
    seen: list[list[float]] = []

    def decode(chunk: Tensor) -> Tensor:
        seen.append(chunk[:, 0, 0, 0].tolist())
        return chunk[:, :3]

    chunks = list(
        decode_chunks(
            latents(5), decode, chunk_size=2, context=2, scaling_factor=1.0, dtype=torch.float32
        )
    )
    assert seen == [[0, 1, 2, 3], [0, 1, 2, 3, 4], [2, 3, 4]]
    assert [chunk[:, 0, 0, 0].tolist() for chunk in chunks] == [[0, 1], [2, 3], [4]]


def test_decoder_gets_its_own_dtype_and_frames_come_back_in_single_precision() -> None:
    """Precision is the decoder's business."""
    seen = []

    def decode(chunk: Tensor) -> Tensor:
        seen.append(chunk.dtype)
        return fake_decode(chunk)

    (chunk,) = decode_chunks(
        latents(2), decode, chunk_size=8, scaling_factor=1.0, dtype=torch.bfloat16
    )
    assert seen == [torch.bfloat16]
    assert chunk.dtype == torch.float32


def test_pixels_are_clamped_and_truncated() -> None:
    """-1 is black, 1 is white, beyond is clamped, and fractions are cut off."""
    values = torch.tensor([-3.0, -1.0, 0.0, 2 * (200.9 / 255) - 1, 1.0, 5.0])
    pixels = to_pixels(values.view(-1, 1, 1, 1).expand(-1, 3, 4, 5))
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (6, 4, 5, 3)
    assert pixels[:, 0, 0, 0].tolist() == [0, 0, 127, 200, 255, 255]


def test_video_leaves_the_reference_out() -> None:
    """Frame 0 is decoded with its chunk but not delivered, also when it is a chunk alone."""
    for size in (1, 2, 5):
        parts = list(
            decode_video(
                latents(5),
                lambda chunk: chunk[:, :3] / 255 * 2 - 1 + 1e-4,
                chunk_size=size,
                scaling_factor=1.0,
                dtype=torch.float32,
            )
        )
        assert torch.cat(parts)[:, 0, 0, 0].tolist() == [1, 2, 3, 4]
        assert all(len(part) for part in parts)
