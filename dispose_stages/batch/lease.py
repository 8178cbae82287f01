"""The right to work on something, for as long as its holder shows that it lives.

Two jobs may want one artifact or one shard at the same time: two runs that share a store, or an
orphan of a killed run. Whoever works holds a *lease*: a small file that says who and how far,
written anew every few seconds.

Taking a lease is one step of the file system (a finished file gets its name), so a killed process
leaves a whole lease or none. Taking over a dead job's lease never removes anything: leases are
numbered, and whoever creates the next number, which succeeds for one only, is the holder. Removing
or renaming a dead lease instead could hit the fresh one of somebody faster.

A lease saves work; it does not guard the result. Artifacts are committed by rename and equal keys
mean equal content, so the worst that a wrong clock or a suspended machine can do is work twice.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from dispose_stages.atomic import readable_json, temporary_name, write_text
from dispose_stages.errors import StoreError
from dispose_stages.records import parse, read_bytes

_logger = logging.getLogger(__name__)

RENEW_SECONDS = 15.0
NEWS_SECONDS = 2.0
"""What the holder says shows after so long at the latest, not only with the next renewal."""
EXPIRY_SECONDS = 90.0
"""A lease that was not renewed for so long belongs to a dead job."""
CERTAINLY_DEAD = 20 * EXPIRY_SECONDS
"""Older than any difference between two machines' clocks."""
POLL_SECONDS = 1.0
_MAX_BYTES = 1 << 16
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


def boot_id() -> str:
    """Tells where process numbers mean the same: in one boot of a machine, in one namespace.

    Containers, and jobs of schedulers that give each its own processes, share name and boot.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def is_gone(holder: Mapping[str, Any]) -> bool:
    """Whether the holder was a process of this machine that no longer exists."""
    here = boot_id()
    if not here or (holder.get("host"), holder.get("boot")) != (socket.gethostname(), here):
        return False
    pid = holder.get("pid")
    return isinstance(pid, int) and not Path(f"/proc/{pid}").exists()


def read_lease(path: Path, patience: float = EXPIRY_SECONDS) -> dict[str, Any] | None:
    """What the holder of a lease last said, if it is, as far as can be told from here, alive.

    Args:
        path: Of the first lease (see `Lease`).
        patience: Seconds without a renewal, by two machines' clocks; `CERTAINLY_DEAD` for whoever
            would take something from the holder.
    """
    number = _newest(path)
    content = None if number is None else _read(_numbered(path, number))
    if content is None or is_gone(content):
        return None
    return content if time.time() - content["updated"] < patience else None


class Lease:
    """The right to do one thing, at the path that stands for it.

    Args:
        path: Of the first lease; later ones have a number appended.
        facts: Plain values for those who look on.
        renew: Seconds between two renewals.
        clock: Seconds that only ever grow.
    """

    def __init__(
        self,
        path: Path,
        facts: Mapping[str, Any] | None = None,
        *,
        renew: float = RENEW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._content: dict[str, Any] = {
            "started": time.time(),
            **(facts or {}),
            "host": socket.gethostname(),
            "boot": boot_id(),
            "pid": os.getpid(),
        }
        self._renew = renew
        self._clock = clock
        self._seen: tuple[object, float] | None = None
        self._number: int | None = None
        self._news = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def say(self, **facts: Any) -> None:
        """Values for those who look on; written soon."""
        self._content = {**self._content, **facts}
        self._news = True

    def acquire(self) -> bool:
        """Take the lease if it is free or expired; False where another job has it.

        To be asked again from time to time: whether a lease of another machine has expired shows
        only by watching it. Whoever gets it must look once more whether the work is done.
        """
        newest = _newest(self._path)
        if newest is not None and not self._is_dead(newest):
            return False
        number = 0 if newest is None else newest + 1
        if not self._create(_numbered(self._path, number)):
            return False
        if number:
            _logger.warning("%s: taken over from a job that is gone", self._path.name)
        self._number = number
        self._ended.clear()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()
        return True

    def wait(self, stop_requested: Callable[[], bool]) -> bool:
        """Take the lease, waiting for its holder's end; False if asked to stop before."""
        told = False
        while not self.acquire():
            if stop_requested():
                return False
            if not told:
                _logger.warning("%s works on this; waiting for it", self.holder())
                told = True
            time.sleep(POLL_SECONDS)
        return True

    def release(self) -> None:
        """Give the lease back, and clear away those it was taken over from."""
        if self._number is None:
            return
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        for number in range(self._number, -1, -1):  # the newest first: the others are dead
            _numbered(self._path, number).unlink(missing_ok=True)
        self._number = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()

    def holder(self) -> str:
        """Who has it, for people."""
        newest = _newest(self._path)
        content = (None if newest is None else _read(_numbered(self._path, newest))) or {}
        return f"process {content.get('pid', '?')} on {content.get('host', '?')}"

    def _is_dead(self, number: int) -> bool:
        path = _numbered(self._path, number)
        content = _read(path)
        try:
            status = path.stat()
        except FileNotFoundError:  # just given back
            return False
        if content is not None and is_gone(content):
            return True
        if time.time() - status.st_mtime > CERTAINLY_DEAD:
            return True
        # Clocks of two machines may differ, so what counts is the time without a change as seen
        # from here.
        identity = (number, status.st_ino, status.st_mtime_ns)
        if self._seen is None or self._seen[0] != identity:
            self._seen = (identity, self._clock())
        return self._clock() - self._seen[1] > EXPIRY_SECONDS

    def _text(self) -> str:
        return readable_json({**self._content, "updated": time.time()})

    def _create(self, path: Path) -> bool:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(path)
        try:
            temporary.write_text(self._text(), encoding="utf-8")
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self._create_without_links(path)
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _create_without_links(self, path: Path) -> bool:
        try:
            with path.open("x", encoding="utf-8") as stream:
                stream.write(self._text())
        except FileExistsError:
            return False
        return True

    def _keep(self) -> None:
        path = _numbered(self._path, self._number or 0)
        pause = min(self._renew, NEWS_SECONDS)
        written = time.monotonic()
        while not self._ended.wait(pause):
            if not self._news and time.monotonic() - written < self._renew:
                continue
            self._news, written = False, time.monotonic()
            try:
                write_text(path, self._text())
            except OSError as error:
                _logger.warning("the lease cannot be renewed: %s", error)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}") if number else path


def _newest(path: Path) -> int | None:
    number = None
    while _numbered(path, 0 if number is None else number + 1).exists():
        number = 0 if number is None else number + 1
    return number


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = parse(read_bytes(path, limit=_MAX_BYTES))
    except (OSError, StoreError, ValueError):
        return None
    usable = isinstance(content, dict) and isinstance(content.get("updated"), float | int)
    return content if usable else None
