"""Frames and short clips through networks: distances per frame, features for sets.

Images are resized bilinearly without antialiasing, half-pixel centres, as the evaluators do whose
numbers are compared with. Everything streams: what is held is one batch, or one clip's window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from dispose_stages.score.similarity import Pixels

PairNetwork = Callable[[Tensor, Tensor], Tensor]
ImageNetwork = Callable[[Tensor], Tensor]
T = TypeVar("T")


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch


def to_tensor(
    frames: Sequence[Pixels], device: torch.device | str, *, side: int | None = None
) -> Float[Tensor, "b 3 h w"]:
    """RGB in [0, 1], resized to a square if a side is given."""
    images = torch.from_numpy(np.stack(frames)).to(device).movedim(3, 1).float() / 255
    if side is None:
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)


@torch.inference_mode()
def perceptual_distances(
    pairs: Iterable[tuple[Pixels, Pixels]],
    network: PairNetwork,
    *,
    device: torch.device | str,
    batch: int,
    scaled: bool = True,
) -> Float64[np.ndarray, "f"]:
    """LPIPS of every frame and the true one.

    Args:
        pairs: Of one size.
        network: Takes values in [-1, 1].
        device: It is on.
        batch: Frames at a time.
        scaled: Off: values in [0, 1] go in, as DisCo's evaluator has it.
    """
    distances = []
    for chunk in _batched(pairs, batch):
        both = [to_tensor(side, device) for side in zip(*chunk, strict=True)]
        result, truth = (2 * images - 1 if scaled else images for images in both)
        distances.append(network(result, truth).double().cpu().numpy())
    return np.concatenate(distances) if distances else np.zeros(0)


@torch.inference_mode()
def frame_features(
    frames: Iterable[Pixels],
    network: ImageNetwork,
    *,
    side: int,
    device: torch.device | str,
    batch: int,
) -> Float32[np.ndarray, "f d"]:
    """Features of every frame; the network takes values in [-1, 1]."""
    return _stacked(
        network(2 * to_tensor(chunk, device, side=side) - 1) for chunk in _batched(frames, batch)
    )


@torch.inference_mode()
def clip_features(
    frames: Iterable[Pixels],
    network: ImageNetwork,
    *,
    side: int,
    length: int,
    stride: int,
    device: torch.device | str,
    batch: int,
) -> Float32[np.ndarray, "w d"]:
    """Features of windows of frames; none of a clip that is shorter than a window.

    Args:
        frames: In order.
        network: Takes ``(b, 3, t, side, side)`` in [-1, 1].
        side: Frames are resized to.
        length: Frames per window.
        stride: Frames between the beginnings of windows.
        device: The network is on.
        batch: Windows at a time.
    """
    images = (2 * to_tensor([frame], device, side=side)[0] - 1 for frame in frames)
    windows = _windows(images, length, stride)
    return _stacked(network(torch.stack(chunk)) for chunk in _batched(windows, batch))


def _windows(
    images: Iterable[Float[Tensor, "3 h w"]], length: int, stride: int
) -> Iterator[Float[Tensor, "3 t h w"]]:
    latest: deque[Tensor] = deque(maxlen=length)
    for index, image in enumerate(images):
        latest.append(image)
        first = index + 1 - length
        if first >= 0 and first % stride == 0:
            yield torch.stack(list(latest), dim=1)


def _stacked(pieces: Iterable[Tensor]) -> Float32[np.ndarray, "n d"]:
    found = [piece.float().cpu().numpy() for piece in pieces]
    return np.concatenate(found) if found else np.zeros((0, 0), dtype=np.float32)
