"""What a job may use of its machine: device and CPU threads."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from dispose_stages.config import GPU_STAGES, Compute
from dispose_stages.errors import DeviceError

Device = Literal["cuda", "cpu"]
_LIBRARIES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Options of glibc's ``mallopt``."""
_KEPT_BYTES = 256 << 20
_DEVICE_NODES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))


def driver_present() -> bool:
    """Whether there is a GPU's driver at all."""
    return any(node.exists() for node in _DEVICE_NODES)


def cuda_available() -> bool:
    """Whether torch can use a GPU; without importing torch where there is no driver at all."""
    if not driver_present():
        return False
    import torch

    return torch.cuda.is_available()


def why_no_cuda() -> str:
    """The likely cause, for the message."""
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return f"the installed torch {torch.__version__} is built for the CPU only"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in {"", "-1", "NoDevFiles"}:
        return f"CUDA_VISIBLE_DEVICES={hidden!r} hides every GPU; was the job given one (gres)?"
    if not driver_present():
        return "there is no GPU driver on this machine; was the job sent to a GPU partition?"
    return "the driver may be too old for this torch; see what `nvidia-smi` says"


def settle_device(
    compute: Compute, stage: str, available: Callable[[], bool] = cuda_available
) -> Device:
    """The device of a stage's job.

    Raises:
        DeviceError: CUDA was asked for and is not there, or a GPU stage would run on the CPU where
            the configuration forbids it.
    """
    if stage not in GPU_STAGES:
        return "cpu"
    if compute.device != "cpu" and available():
        return "cuda"
    if compute.device == "cuda":
        raise DeviceError(f"compute.device is cuda, but no GPU can be used: {why_no_cuda()}")
    if not compute.allow_cpu:
        cause = "compute.device is cpu" if compute.device == "cpu" else why_no_cuda()
        raise DeviceError(f"{stage} would run on the CPU and compute.allow_cpu is off: {cause}")
    return "cpu"


def granted_threads(asked: int, environ: Mapping[str, str]) -> int:
    """Threads of this job.

    Args:
        asked: `compute.threads`; 0 leaves it to the scheduler.
        environ: ``SLURM_CPUS_PER_TASK`` (the job) and ``OMP_NUM_THREADS`` (Snakemake's rule) bound
            what the process may be scheduled on.
    """
    if asked:
        return asked
    limits = [len(os.sched_getaffinity(0))]
    for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS"):
        value = environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            limits.append(int(value))
    return min(limits)


def limit_threads(count: int, environ: MutableMapping[str, str]) -> None:
    """Tell all numeric libraries; to be called before they are imported."""
    for name in _LIBRARIES:
        environ[name] = str(count)
    if "torch" in sys.modules:  # it has read the environment already
        sys.modules["torch"].set_num_threads(count)


def keep_threads_awake(environ: MutableMapping[str, str]) -> None:
    """Have OpenMP's threads wait for one another awake, for 3 ms; to be called before torch comes.

    Several threads call torch (clips are read ahead, states are saved), each with a team of its
    own; GNU's OpenMP takes that for too many and lets all of them sleep between two operations.
    """
    environ.setdefault("OMP_WAIT_POLICY", "active")
    environ.setdefault("GOMP_SPINCOUNT", "300000")


def keep_freed_memory() -> None:
    """Let this process use memory again that it has freed, where the C library is glibc.

    It maps every large array by itself and unmaps it at once; networks on a CPU free one with each
    operation, and the kernel clears all pages of the next. The most memory in use grows by a
    third to a half, because arrays of different sizes follow one another in one heap.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
