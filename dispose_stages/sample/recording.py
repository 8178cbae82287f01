"""Calls that repeat on a GPU, recorded once and replayed: a CUDA graph.

A tile-step launches well over a thousand kernels. Replaying them as one leaves no gaps between
them and nothing to do on the host; the kernels are the same, so the result has the same bits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from dispose_stages.faults import machine_fault

_logger = logging.getLogger(__name__)
Results = tuple[Tensor, ...]
Capture = Callable[[Callable[[], Results]], tuple[Results, Callable[[], None]]]
"""Records a call; returns where its results will lie, and what computes them again."""


def cuda_graph(call: Callable[[], Results]) -> tuple[Results, Callable[[], None]]:
    """The `Capture` of a CUDA device."""
    # The graph has memory of its own; what the plain call left behind would be held beside it.
    torch.cuda.empty_cache()
    graph = torch.cuda.CUDAGraph()
    # Another thread may be copying the next clip's inputs to the device meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        results = call()
    return results, graph.replay


class Recorder:
    """Runs a function plainly the first time, records it the second, and replays it after.

    Args:
        capture: How a call is recorded; None: never.

    Attributes:
        failure: Why nothing is recorded any more, empty as long as all is well.
    """

    def __init__(self, capture: Capture | None) -> None:
        self._capture = capture
        self._recordings: dict[Hashable, Callable[..., Results] | None] = {}
        self.failure = ""

    def __call__(self, key: Hashable, function: Callable[..., Results], *inputs: Tensor) -> Results:
        """The function's results, tensors of their own.

        Args:
            key: Of calls that differ in nothing but the values of their inputs.
            function: Must not read values on the host; what else it reads must stay where it is.
            inputs: Of the same shapes for the same key.
        """
        if self._capture is None or self.failure:
            return function(*inputs)
        if key not in self._recordings:  # compiles, tunes and fills what is kept per clip
            self._recordings[key] = None
            return function(*inputs)
        recording = self._recordings[key] or self._record(key, function, inputs)
        if recording is None:
            return function(*inputs)
        return recording(*inputs)

    def _record(
        self, key: Hashable, function: Callable[..., Results], inputs: Sequence[Tensor]
    ) -> Callable[..., Results] | None:
        kept = [value.clone() for value in inputs]
        try:
            results, replay = (self._capture or cuda_graph)(lambda: function(*kept))
        except Exception as error:
            if machine_fault(error):
                raise
            # Memory, a driver, an operation that cannot be recorded.
            self.failure = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            _logger.warning("steps are not recorded, but run plainly: %s", self.failure)
            self._recordings.clear()
            return None

        def replayed(*inputs: Tensor) -> Results:
            for place, value in zip(kept, inputs, strict=True):
                place.copy_(value)
            replay()
            return tuple(result.clone() for result in results)

        self._recordings[key] = replayed
        return replayed
