"""Which failures are the machine's: they say nothing of the unit that met them.

A full disk, a read-only or broken file system, too many open files, a dead GPU: the same unit would
have failed otherwise, or not at all, elsewhere or later. Libraries are known by name, because
nothing here imports them.
"""

from __future__ import annotations

import errno
import gc
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from dispose_stages.errors import Reason, UnitError

T = TypeVar("T")
_logger = logging.getLogger(__name__)

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free space",
    errno.EDQUOT: "the quota is used up; free space",
    errno.EROFS: "the file system is read-only; make it writable",
    errno.EIO: "the storage reports an input/output error; look at the file system",
    errno.ENXIO: "a device is gone; look at the machine",
    errno.ENODEV: "a device is gone; look at the machine",
    errno.ESTALE: "a network file system lost a file; look at its server",
    errno.EREMOTEIO: "a network file system reports an error; look at its server",
    errno.ETIMEDOUT: "a file system does not answer; look at its server",
    errno.EMFILE: "too many open files; raise `ulimit -n`",
    errno.ENFILE: "too many open files on this machine; close other programs",
    errno.ENOMEM: "the machine has no memory left; give the job more",
}
_NO_MEMORY = re.compile(
    r"(CUDNN|CUBLAS|CUSOLVER|CUSPARSE)_STATUS_ALLOC_FAILED"
    r"|out of memory|Failed to allocate memory|bad_alloc",
    re.IGNORECASE,
)
_NO_MEMORY_NAMES = frozenset({"OutOfMemoryError", "MemoryError"})
_DEAD_GPU = re.compile(
    r"illegal memory access|launch failure|launch timed out|device-side assert|misaligned address"
    r"|uncorrectable|hardware stack|busy or unavailable|no kernel image|initialization error"
    r"|driver shutting down|context is destroyed|unknown error|invalid device"
    r"|(CUDNN|CUBLAS)_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR|NOT_INITIALIZED)"
)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _of_a_library(error: BaseException) -> bool:
    """ONNX Runtime's errors have no base below Exception."""
    return isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime.")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory, of the host or of a GPU, did not suffice; less of it may.

    Out-of-memory errors of torch, cuDNN, cuBLAS, Triton and ONNX Runtime.
    """
    return any(
        {base.__name__ for base in type(link).__mro__} & _NO_MEMORY_NAMES
        or (_of_a_library(link) and _NO_MEMORY.search(str(link)) is not None)
        for link in _chain(error)
    )


def machine_fault(error: BaseException) -> str:
    """What is wrong with the machine and what to do; empty where the error is not of that kind."""
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno in _REMEDIES:
            where = f" ({link.filename})" if link.filename else ""
            return f"{_REMEDIES[link.errno]}{where}"
        if _of_a_library(link) and _DEAD_GPU.search(str(link)):
            if is_out_of_memory(link):
                continue
            line = str(link).strip().split("\n", maxsplit=1)[0][:200]
            return f"the GPU cannot be used any more: {line}"
    return ""


def descend(rungs: Mapping[str, Callable[[], T]]) -> tuple[T, str]:
    """Compute a unit with ever less memory, until it suffices.

    Args:
        rungs: Name to a way to compute the unit, or to go on with it; the most demanding first.

    Returns:
        The result, and the name of the rung that gave it.

    Raises:
        UnitError: ``oom``: memory did not suffice on the last rung either.
    """
    for name, attempt in rungs.items():
        try:
            return attempt(), name
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            _logger.warning("out of memory on rung %r: %s", name, str(error).split("\n")[0])
        # Outside the handler: the error's traceback kept the tensors of the attempt alive.
        _release_cached_memory()
    raise UnitError(
        Reason.OUT_OF_MEMORY,
        f"memory does not suffice, not even on rung {list(rungs)[-1]!r}",
    )


def _release_cached_memory() -> None:
    """Give memory that nothing refers to back to the device."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
