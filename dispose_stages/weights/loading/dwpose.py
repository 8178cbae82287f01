"""DWPose's two network files, opened in ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from jaxtyping import Float32

from dispose_stages.config import Config
from dispose_stages.errors import DeviceError, WeightsError
from dispose_stages.models.dwpose import OnnxNetwork
from dispose_stages.models.whole_body.estimation import SimCC
from dispose_stages.models.whole_body.extraction import PoseNetworks
from dispose_stages.weights import layout
from dispose_stages.weights.verification import find_file

_logger = logging.getLogger(__name__)

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_ERRORS_ONLY = 3
_ON_CUDA = {
    "device_id": 0,
    "use_tf32": 0,
    # Its memory would grow by doubling and stay so, beside that of PyTorch on the same card.
    "arena_extend_strategy": "kSameAsRequested",
    # Algorithms by shape: the fastest of a search may be another one in the next job.
    "cudnn_conv_algo_search": "HEURISTIC",
}


def load_dwpose(
    detector: Path,
    estimator: Path,
    *,
    device: str,
    allow_cpu: bool,
    threads: int = 0,
    batch_size: int = 8,
) -> PoseNetworks:
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
    yolox, simcc = (
        open_network(
            path, device=device, allow_cpu=allow_cpu, threads=threads, batch_size=batch_size
        )
        for path in (detector, estimator)
    )

    def estimate(crops: Float32[np.ndarray, "b 3 h w"]) -> SimCC:
        x, y = simcc(crops)[:2]
        return x, y

    return PoseNetworks(
        detector=lambda images: yolox(images)[0],
        estimator=estimate,
        detector_size=yolox.input_size,
        estimator_size=simcc.input_size,
        batch_size=batch_size,
    )


def load_pose_networks(config: Config, root: Path, *, device: str, threads: int) -> PoseNetworks:
    """DWPose of the pipeline's own checkpoints; errors as `load_dwpose`."""
    return load_dwpose(
        find_file(root, layout.DETECTOR),
        find_file(root, layout.WHOLE_BODY),
        device=device,
        allow_cpu=config.compute.allow_cpu,
        threads=threads,
        batch_size=config.pose.batch_size,
    )


def open_network(
    path: Path, *, device: str, allow_cpu: bool, threads: int = 0, batch_size: int = 8
) -> OnnxNetwork:
    """One of them; arguments and errors as `load_dwpose`."""
    session = _open_session(path, device=device, threads=threads)
    active = session.get_providers()
    if device == "cuda":
        available = onnxruntime.get_available_providers()
        check_provider(active, available, path=path, allow_cpu=allow_cpu)
    try:
        return OnnxNetwork(
            session, device="cuda" if CUDA in active else "cpu", batch_size=batch_size
        )
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


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
        providers.insert(0, (CUDA, _ON_CUDA))
    try:
        return onnxruntime.InferenceSession(str(path), sess_options=options, providers=providers)
    except Exception as error:
        # ONNX Runtime's exceptions have no common base below Exception.
        raise WeightsError(f"{path}: ONNX Runtime cannot load it: {error}") from error


def check_provider(active: list[str], available: list[str], *, path: Path, allow_cpu: bool) -> None:
    """Refuse, or warn of, a session that silently runs on the CPU.

    Args:
        active: Providers of the session.
        available: Providers that this ONNX Runtime has.

    Raises:
        DeviceError: CUDA was asked for, is not active, and `allow_cpu` is off.
    """
    if CUDA in active:
        return
    message = f"{path.name}: CUDA was asked for but runs on the CPU. {_likely_cause(available)}"
    if not allow_cpu:
        raise DeviceError(message + "; or set compute.allow_cpu: true")
    _logger.warning(message)


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
