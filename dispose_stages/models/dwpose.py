"""DWPose's two networks in ONNX Runtime: YOLOX person detector and SimCC whole-body head.

Both run through I/O binding, on CUDA or on the CPU. Names of inputs and outputs are never relied
on: the detector's first output is used, and the head's outputs are x, then y, as exported.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from jaxtyping import Float32

from dispose_stages.errors import DeviceError, WeightsError

logger = logging.getLogger(__name__)

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_ERRORS_ONLY = 3


def _likely_cause(available: list[str]) -> str:
    """Why a session that was asked for CUDA came up on the CPU."""
    version = onnxruntime.__version__
    if CUDA not in available:
        return (
            f"ONNX Runtime {version} here has no CUDA provider: the CPU package `onnxruntime` is "
            "installed, alone or over `onnxruntime-gpu` (they overwrite each other). Uninstall "
            "both, then install onnxruntime-gpu (the extra `gpu` of this package)"
        )
    return (
        f"ONNX Runtime {version} has a CUDA provider that did not start: most likely the CUDA or "
        "cuDNN libraries it was built for are missing or of another major version "
        "(its log above names the library), or no GPU is visible to this process"
    )


def check_provider(active: list[str], available: list[str], *, path: Path, allow_cpu: bool) -> None:
    """Refuse, or warn of, a session that silently runs on the CPU.

    Args:
        active: Providers of the session.
        available: Providers that this ONNX Runtime has.
        path: The network, for the message.
        allow_cpu: Warn only.

    Raises:
        DeviceError: CUDA was asked for, is not active, and `allow_cpu` is off.
    """
    if CUDA in active:
        return
    message = f"{path.name}: CUDA was asked for but runs on the CPU. {_likely_cause(available)}"
    if not allow_cpu:
        raise DeviceError(message + "; or set compute.allow_cpu: true")
    logger.warning(message)


class OnnxNetwork:
    """A network file as a callable of float32 batches.

    Frames go through it in batches where the file has a dynamic batch axis, else one batch of the
    file's own size after another.

    Args:
        path: The ``.onnx`` file.
        device: ``cuda`` or ``cpu``.
        allow_cpu: With ``cuda``: a session that came up on the CPU is a warning, not an error.
        threads: CPU threads; 0 leaves the choice to ONNX Runtime.
        batch_size: At most so many per inference.

    Raises:
        WeightsError: The file is missing or is no ONNX network with one image input.
        DeviceError: See `check_provider`.
    """

    def __init__(
        self,
        path: Path,
        *,
        device: str,
        allow_cpu: bool,
        threads: int = 0,
        batch_size: int = 8,
    ) -> None:
        self.path = path
        self._session = _open_session(path, device=device, threads=threads)
        active = self._session.get_providers()
        if device == "cuda":
            available = onnxruntime.get_available_providers()
            check_provider(active, available, path=path, allow_cpu=allow_cpu)
        self.device = "cuda" if CUDA in active else "cpu"
        batch_axis, self.input_size = self._input_shape()
        self.dynamic_batch = batch_axis is None
        self.batch_size = batch_size if batch_axis is None else batch_axis
        self._output_names = [output.name for output in self._session.get_outputs()]

    def _input_shape(self) -> tuple[int | None, tuple[int, int]]:
        """Batch size, None where it is dynamic, and image size."""
        shape = self._session.get_inputs()[0].shape
        if len(shape) != 4 or not all(isinstance(side, int) for side in shape[2:]):
            raise WeightsError(f"{self.path}: the input must be (batch, 3, H, W), not {shape}")
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
        """Every output for all images, first axis `n`."""
        pieces = []
        for start in range(0, len(images), self.batch_size):
            chunk = np.ascontiguousarray(images[start : start + self.batch_size])
            count = len(chunk)
            if not self.dynamic_batch and count < self.batch_size:
                padding = np.zeros((self.batch_size - count, *chunk.shape[1:]), chunk.dtype)
                chunk = np.concatenate([chunk, padding])
            pieces.append([output[:count] for output in self._run(chunk)])
        return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]


def _open_session(path: Path, *, device: str, threads: int) -> Any:
    if not path.is_file():
        raise WeightsError(f"{path} is missing")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads
    providers: list[str | tuple[str, Mapping[str, Any]]] = [CPU]
    if device == "cuda" and CUDA in onnxruntime.get_available_providers():
        # Finds the CUDA and cuDNN libraries that torch brought along.
        onnxruntime.preload_dlls()
        providers.insert(0, (CUDA, {"device_id": 0, "use_tf32": 0}))
    try:
        return onnxruntime.InferenceSession(str(path), sess_options=options, providers=providers)
    except Exception as error:
        # ONNX Runtime's exceptions have no common base below Exception.
        raise WeightsError(f"{path}: ONNX Runtime cannot load it: {error}") from error


@dataclass(frozen=True, slots=True)
class DWPose:
    """Detector and whole-body head.

    Attributes:
        detector: Gives ``(b, cells, 5 + classes)``.
        estimator: Gives SimCC ``x`` and ``y``.
    """

    detector: OnnxNetwork
    estimator: OnnxNetwork

    def detect(
        self, images: Float32[np.ndarray, "b 3 h w"]
    ) -> Float32[np.ndarray, "b cells values"]:
        """Raw detector output."""
        return self.detector(images)[0]

    def estimate(
        self, images: Float32[np.ndarray, "b 3 h w"]
    ) -> tuple[Float32[np.ndarray, "b k bins_x"], Float32[np.ndarray, "b k bins_y"]]:
        """SimCC distributions along x and y."""
        simcc_x, simcc_y = self.estimator(images)[:2]
        return simcc_x, simcc_y


def load_dwpose(
    detector: Path,
    estimator: Path,
    *,
    device: str,
    allow_cpu: bool,
    threads: int = 0,
    batch_size: int = 8,
) -> DWPose:
    """Load both networks.

    Args:
        detector: ``yolox_l.onnx``.
        estimator: ``dw-ll_ucoco_384.onnx``.
        device: ``cuda`` or ``cpu``.
        allow_cpu: With ``cuda``: fall back to the CPU with a warning.
        threads: CPU threads; 0 leaves the choice to ONNX Runtime.
        batch_size: At most so many frames or crops per inference.

    Raises:
        WeightsError: A file is missing or unusable.
        DeviceError: ``cuda`` was asked for and is not there.
    """
    networks = [
        OnnxNetwork(
            path, device=device, allow_cpu=allow_cpu, threads=threads, batch_size=batch_size
        )
        for path in (detector, estimator)
    ]
    return DWPose(*networks)
