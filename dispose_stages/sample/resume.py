"""The state of an unfinished clip as arrays and plain values, and back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from dispose_stages.sample.denoise import DenoisingState

_logger = logging.getLogger(__name__)


def to_arrays(
    state: DenoisingState, steps: int
) -> tuple[dict[str, Float32[np.ndarray, "f 4 h w"]], dict[str, int]]:
    """Arrays and attributes to store; waits for the device."""
    latents = state.latents.detach().to("cpu", torch.float32).numpy()
    return {"latents": latents}, {"step": state.step, "steps": steps}


def from_arrays(
    stored: tuple[Mapping[str, np.ndarray], Mapping[str, Any]] | None,
    *,
    like: Float32[Tensor, "f 4 h w"],
    steps: int,
) -> DenoisingState | None:
    """Undo `to_arrays`.

    Args:
        stored: What was found, if anything.
        like: Latents of the shape and on the device that are expected.

    Returns:
        None where nothing was found or it belongs to another clip or schedule: start over.
    """
    if stored is None:
        return None
    arrays, attributes = stored
    latents, step = arrays.get("latents"), attributes.get("step")
    if (
        latents is None
        or latents.dtype != np.float32
        or latents.shape != tuple(like.shape)
        or not isinstance(step, int)
        or attributes.get("steps") != steps
        or not 0 < step <= steps
    ):
        _logger.warning("the saved state of this clip does not fit it; starting over")
        return None
    return DenoisingState(step, torch.from_numpy(np.array(latents)).to(like.device))


def save_every(
    interval: int,
    save: Callable[[DenoisingState], None],
    *,
    stop_requested: Callable[[], bool],
    interrupt: Callable[[], BaseException],
) -> Callable[[DenoisingState], None]:
    """An `after_step` that saves every `interval` steps, and at once when asked to stop.

    Args:
        interval: Steps between saved states; 0: only when asked to stop.
        save: Stores a state, atomically.
        stop_requested: Whether the job should end (preemption, time limit).
        interrupt: Makes the exception that ends the loop after saving.
    """

    def after_step(state: DenoisingState) -> None:
        stop = stop_requested()
        if stop or (interval and state.step % interval == 0):
            save(state)
        if stop:
            raise interrupt()

    return after_step


class Progress:
    """An `after_step` that remembers the newest state, to go on from after a failed attempt.

    Args:
        state: Where to begin; None for the first noise level.
        after_step: Called with every new state.

    Attributes:
        state: The newest state.
    """

    def __init__(
        self, state: DenoisingState | None, after_step: Callable[[DenoisingState], None]
    ) -> None:
        self.state = state
        self._after_step = after_step

    def __call__(self, state: DenoisingState) -> None:
        """Take note of a new state."""
        self.state = state
        self._after_step(state)
