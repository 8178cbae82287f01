"""The state of an unfinished clip as arrays and plain values, and back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from dispose_stages.config_sampling import Solver
from dispose_stages.sample.denoise import DenoisingState

_logger = logging.getLogger(__name__)


def to_arrays(
    state: DenoisingState, steps: int
) -> tuple[dict[str, Float32[np.ndarray, "f 4 h w"]], dict[str, int]]:
    """Arrays and attributes to store; waits for the device."""
    kept = {"latents": state.latents} | ({} if state.data is None else {"data": state.data})
    arrays = {name: value.detach().to("cpu", torch.float32).numpy() for name, value in kept.items()}
    return arrays, {"step": state.step, "steps": steps}


def from_arrays(
    stored: tuple[Mapping[str, np.ndarray], Mapping[str, Any]] | None,
    *,
    like: Float32[Tensor, "f 4 h w"],
    steps: int,
    solver: Solver,
) -> DenoisingState | None:
    """Undo `to_arrays`.

    Args:
        stored: What was found, if anything.
        like: Latents of the shape and on the device that are expected.
        solver: Decides what a state consists of.

    Returns:
        None where nothing was found or it belongs to another clip or schedule: start over.
    """
    if stored is None:
        return None
    arrays, attributes = stored
    names = ("latents",) if solver == "euler" else ("latents", "data")
    found = [arrays[name] for name in names if name in arrays]
    step = attributes.get("step")
    if (
        len(found) < len(names)
        or any(each.dtype != np.float32 or each.shape != tuple(like.shape) for each in found)
        or not isinstance(step, int)
        or attributes.get("steps") != steps
        or not 0 < step <= steps
    ):
        _logger.warning("the saved state of this clip does not fit it; starting over")
        return None
    return DenoisingState(step, *(torch.from_numpy(np.array(x)).to(like.device) for x in found))


class StateWriter:
    """Stores states in another thread, one at a time: neither device nor loop waits for the disk.

    Args:
        store: Stores a state, atomically.
        executor: The thread.
    """

    def __init__(self, store: Callable[[DenoisingState], None], executor: Executor) -> None:
        self._store, self._executor = store, executor
        self._under_way: Future[None] | None = None

    def __call__(self, state: DenoisingState) -> None:
        """Begin to store a state, once the one before is stored.

        Raises:
            Exception: The one before could not be.
        """
        self.wait()
        self._under_way = self._executor.submit(self._store, state)

    def wait(self) -> None:
        """Until nothing is under way; raises what `__call__` does."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()


def save_every(
    interval: int,
    save: StateWriter,
    *,
    begun: int = 0,
    stop_requested: Callable[[], bool],
    interrupt: Callable[[], BaseException],
) -> Callable[[DenoisingState], None]:
    """An `after_step` that saves every `interval` steps, and at once when asked to stop.

    Args:
        interval: Steps between saved states; 0: only when asked to stop. A state that is passed
            over is made up for by the next one that is given.
        save: Waited for before the interruption.
        begun: Steps that were done at first.
        stop_requested: Whether the job should end (preemption, time limit).
        interrupt: Makes the exception that ends the loop after saving.
    """
    last = begun

    def after_step(state: DenoisingState) -> None:
        nonlocal last
        stop = stop_requested()
        if stop or (interval and state.step // interval > last // interval):
            save(state)
        last = state.step
        if stop:
            save.wait()
            raise interrupt()

    return after_step


def stop_within(
    save: StateWriter, *, stop_requested: Callable[[], bool], interrupt: Callable[[], BaseException]
) -> Callable[[DenoisingState | None], None]:
    """Saves the newest state and interrupts when asked to stop; arguments as in `save_every`."""

    def between(state: DenoisingState | None) -> None:
        if stop_requested():
            if state is not None:
                save(state)
                save.wait()
            raise interrupt()

    return between


class Progress:
    """An `after_step` that remembers the newest state, to go on from after a failed attempt.

    Args:
        state: Where to begin; None for the first noise level.
        after_step: Called with every new state.
        settle: Waits for what `after_step` began; called when the clip is left.
        between: Called with the newest state whenever it is a good time to stop within a step,
            which takes long for a long clip; may raise to interrupt.

    Attributes:
        state: The newest state.
        settle: As given.
    """

    def __init__(
        self,
        state: DenoisingState | None = None,
        after_step: Callable[[DenoisingState], None] = lambda _: None,
        settle: Callable[[], None] = lambda: None,
        between: Callable[[DenoisingState | None], None] = lambda _: None,
    ) -> None:
        self.state = state
        self._after_step, self._between = after_step, between
        self.settle = settle

    def __call__(self, state: DenoisingState) -> None:
        """Take note of a new state."""
        self.state = state
        self._after_step(state)

    def between(self) -> None:
        """Within a step."""
        self._between(self.state)
