"""One process per GPU on a machine without a scheduler that hands them out."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path

from dispose_stages.atomic import try_lock
from dispose_stages.errors import DeviceError

_logger = logging.getLogger(__name__)
_POLL_SECONDS = 1.0


def gpu_count() -> int:
    """GPUs of this machine (or container), from the driver's device nodes."""
    return sum(bool(re.fullmatch(r"nvidia\d+", node.name)) for node in Path("/dev").iterdir())


def jobs_at_once(environ: Mapping[str, str]) -> int:
    """How many jobs of this machine get a GPU of their own; 0 where there is none.

    Jobs share out the GPUs among themselves, but leave what somebody assigned as it is.
    """
    return 1 if environ.get("CUDA_VISIBLE_DEVICES") else gpu_count()


def lock_folder() -> Path:
    """Where this user's locks lie; they are released by the kernel when their process ends."""
    return Path(tempfile.gettempdir()) / f"dispose-gpus-{os.getuid()}"


@contextmanager
def _own_folder(folder: Path) -> Iterator[int]:
    """Descriptor of a folder that is this user's alone; others may write beside it.

    Raises:
        DeviceError: Somebody else made it, or made it a link.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise DeviceError(_refusal(folder, error.strerror or "cannot be opened")) from None
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise DeviceError(_refusal(folder, "others may write in it"))
        yield descriptor
    finally:
        os.close(descriptor)


def _refusal(folder: Path, reason: str) -> str:
    return (
        f"{folder} is no folder of this user's own ({reason}), so nothing is locked in it; "
        "remove it, or set TMPDIR to a folder of your own"
    )


def _try_lock(folder: int, name: str) -> int | None:
    """Descriptor that holds the lock as long as it is open; None where another process has it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    if try_lock(descriptor):
        return descriptor
    os.close(descriptor)
    return None


@contextmanager
def free_gpu(
    environ: MutableMapping[str, str],
    *,
    count: int,
    folder: Path,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Iterator[int | None]:
    """Hold a GPU that no other job of this user holds and make it the only visible one.

    Does nothing where somebody else has assigned one (``CUDA_VISIBLE_DEVICES``) or there are not
    several. To be entered before torch is imported.

    Args:
        stop_requested: Ends the wait for a free one.

    Raises:
        DeviceError: The job was asked to stop before a GPU became free, or the folder is not this
            user's own.
    """
    if "CUDA_VISIBLE_DEVICES" in environ or count < 2:
        yield None
        return
    with _own_folder(folder) as opened:
        index, descriptor = _wait_for_lock(opened, count, stop_requested)
    environ["CUDA_VISIBLE_DEVICES"] = str(index)
    _logger.info("using GPU %d of %d", index, count)
    try:
        yield index
    finally:
        del environ["CUDA_VISIBLE_DEVICES"]
        os.close(descriptor)


def _wait_for_lock(folder: int, count: int, stop_requested: Callable[[], bool]) -> tuple[int, int]:
    waiting = False
    while True:
        for index in range(count):
            descriptor = _try_lock(folder, f"{index}.lock")
            if descriptor is not None:
                return index, descriptor
        if stop_requested():
            raise DeviceError("asked to stop while waiting for a free GPU")
        if not waiting:
            _logger.info("all %d GPUs are taken by other jobs; waiting", count)
            waiting = True
        time.sleep(_POLL_SECONDS)
