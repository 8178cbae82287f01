"""DWPose's two networks in ONNX Runtime: YOLOX person detector and SimCC whole-body head.

Both run through I/O binding, on CUDA or on the CPU. Names of inputs and outputs are never relied
on: the detector's first output is used, and the head's outputs are x, then y, as exported.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import onnxruntime
from jaxtyping import Float32

from dispose_stages.errors import WeightsError
from dispose_stages.faults import descend


class OnnxNetwork:
    """A network file as a callable of float32 batches.

    Frames go through it in batches where the file has a dynamic batch axis, else one batch of the
    file's own size after another.

    Args:
        session: Of ONNX Runtime, or anything with its methods.
        device: Where it runs, ``cuda`` or ``cpu``.
        batch_size: At most so many per inference.

    Raises:
        WeightsError: The network's input is not one batch of images.
    """

    def __init__(self, session: Any, *, device: str, batch_size: int = 8) -> None:
        self._session = session
        self.device = device
        batch_axis, self.input_size = self._input_shape()
        self.dynamic_batch = batch_axis is None
        self.batch_size = batch_size if batch_axis is None else batch_axis
        self._output_names = [output.name for output in self._session.get_outputs()]

    def _input_shape(self) -> tuple[int | None, tuple[int, int]]:
        """Batch size, None where it is dynamic, and image size."""
        shape = self._session.get_inputs()[0].shape
        if len(shape) != 4 or not all(isinstance(side, int) for side in shape[2:]):
            raise WeightsError(f"the network's input must be (batch, 3, H, W), not {shape}")
        batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
        return batch, (shape[2], shape[3])

    def _run(self, batch: Float32[np.ndarray, "b 3 h w"]) -> list[np.ndarray]:
        binding = self._session.io_binding()
        value = onnxruntime.OrtValue.ortvalue_from_numpy(batch, self.device, 0)
        binding.bind_ortvalue_input(self._session.get_inputs()[0].name, value)
        for name in self._output_names:
            binding.bind_output(name, self.device, 0)
        self._session.run_with_iobinding(binding)
        outputs: list[np.ndarray] = binding.copy_outputs_to_cpu()
        return outputs

    def __call__(self, images: Float32[np.ndarray, "n 3 h w"]) -> list[np.ndarray]:
        """Every output for all images, first axis `n`.

        Raises:
            UnitError: ``oom``: memory does not suffice.
        """
        pieces = []
        for start in range(0, len(images), self.batch_size):
            chunk = np.ascontiguousarray(images[start : start + self.batch_size])
            count = len(chunk)
            if not self.dynamic_batch and count < self.batch_size:
                padding = np.zeros((self.batch_size - count, *chunk.shape[1:]), chunk.dtype)
                chunk = np.concatenate([chunk, padding])
            pieces.append([output[:count] for output in self._with_less_memory(chunk)])
        return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]

    def _with_less_memory(self, batch: Float32[np.ndarray, "b 3 h w"]) -> list[np.ndarray]:
        """A batch at once; where memory does not suffice, image by image if the file can."""
        rungs = {"batch": partial(self._run, batch)}
        if self.dynamic_batch and len(batch) > 1:
            rungs["single"] = partial(self._one_by_one, batch)
        return descend(rungs)[0]

    def _one_by_one(self, batch: Float32[np.ndarray, "b 3 h w"]) -> list[np.ndarray]:
        outputs = [self._run(batch[index : index + 1]) for index in range(len(batch))]
        return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]
