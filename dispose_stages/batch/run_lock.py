"""One main process per run, whatever happens to the others.

An advisory lock of the operating system: it vanishes with the process that holds it, so a killed
run needs no unlocking.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import time
from pathlib import Path
from typing import Self, TextIO

from dispose_stages.atomic import try_lock
from dispose_stages.errors import DisposeError

logger = logging.getLogger(__name__)


_LOOK_SECONDS = 0.2
"""Somebody who looks whether a lock is held holds it for a moment."""


class RunBusyError(DisposeError):
    """Another process works on the run."""


def last_holder(path: Path) -> int | None:
    """Process number of who took a lock last, whether it is held or not."""
    try:
        words = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return None
    return int(words[1]) if words[:1] == ["process"] and words[1:2] and words[1].isdigit() else None


def holder(path: Path) -> str:
    """Who holds a lock now, on whatever machine, for people; empty for nobody."""
    try:
        with path.open("rb") as stream:
            if not try_lock(stream, fcntl.LOCK_SH):
                return stream.read(200).decode(errors="replace") or "another process"
    except OSError:  # never planned, or a file system without locks
        return ""
    return ""


def _busy(path: Path, stream: TextIO) -> RunBusyError:
    with stream:
        stream.seek(0)
        holder = stream.read().strip() or "another process"
    return RunBusyError(f"{path.parent.parent}: {holder} works on this run; wait for it or stop it")


class RunLock:
    """Holds a run until the process ends or `release` is called; or as long as a ``with`` lasts.

    Args:
        path: The lock file; its content names the last holder.

    Attributes:
        exclusive: Whether the lock is held; also False where the file system knows no locks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.exclusive = False
        self._stream: TextIO | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            RunBusyError: Another process holds it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        stream = self.path.open("a+", encoding="utf-8")
        try:
            if not try_lock(stream):
                time.sleep(_LOOK_SECONDS)
                if not try_lock(stream):
                    raise _busy(self.path, stream)
            self.exclusive = True
        except OSError as error:
            # Some network file systems know no locks; Snakemake's own lock remains.
            logger.warning("%s: the file system offers no locks (%s)", self.path, error)
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}")
        stream.flush()
        self._stream = stream

    def release(self) -> None:
        """Let others in."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
            self.exclusive = False
