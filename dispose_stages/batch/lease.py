"""At most one job computes a unit, also where a shard's heartbeat does not help.

Two jobs may want one artifact at the same time: two runs that share a store, or an orphan of a
killed run whose shards were cut differently. Before a job computes a unit it takes a *lease*: a
small file beside the artifact-to-be, touched every few seconds while the computation lasts.

Taking over a dead job's lease never removes anything: leases are numbered, and whoever creates
the next number (which the file system lets one do) is the holder. Removing or renaming a dead
lease instead could hit the fresh one of somebody faster.

A lease saves work; it does not guard the result. Artifacts are committed by rename and equal keys
mean equal content, so the worst that a wrong clock or a suspended machine can do is work twice.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dispose_stages.atomic import readable_json
from dispose_stages.batch.liveness import is_gone, this_process

_logger = logging.getLogger(__name__)

RENEW_SECONDS = 15.0
EXPIRY_SECONDS = 90.0
"""A lease that nobody touched for so long belongs to a dead job."""
_CERTAINLY_DEAD = 20 * EXPIRY_SECONDS
"""Older than any difference between two machines' clocks."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A lease as found at some time.

    Attributes:
        number: Of the lease.
        identity: Changes whenever it is renewed or replaced.
        since: When this was first seen, by this process' own clock.
    """

    number: int
    identity: tuple[int, int]
    since: float


class Lease:
    """The right to compute one unit.

    Args:
        path: Of the first lease; later ones have a number appended.
        renew: Seconds between two touches.
        expiry: Seconds without a touch after which it may be taken over.
        clock: Seconds that only ever grow.
    """

    def __init__(
        self,
        path: Path,
        *,
        renew: float = RENEW_SECONDS,
        expiry: float = EXPIRY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._renew = renew
        self._expiry = expiry
        self._clock = clock
        self._seen: _Seen | None = None
        self._number: int | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def held(self) -> bool:
        """Whether this object has the lease."""
        return self._number is not None

    def acquire(self) -> bool:
        """Take the lease if it is free or expired; False where another job has it.

        To be asked again from time to time: whether a lease of another machine has expired shows
        only by watching it. Whoever gets it must look once more whether the artifact is there.
        """
        newest = self._newest()
        if newest is not None and not self._is_dead(newest):
            return False
        number = 0 if newest is None else newest + 1
        if not self._create(number):
            return False
        if number:
            _logger.warning("%s: taken over from a job that is gone", self._path.name)
        self._number = number
        self._ended.clear()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()
        return True

    def release(self) -> None:
        """Give the lease back, and clear away those it was taken over from."""
        if self._number is None:
            return
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        for number in range(self._number, -1, -1):  # the newest first: the others are dead
            self._numbered(number).unlink(missing_ok=True)
        self._number = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def holder(self) -> str:
        """Who has it, for people."""
        newest = self._newest()
        content = {} if newest is None else _read(self._numbered(newest))
        return f"process {content.get('pid', '?')} on {content.get('host', '?')}"

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _newest(self) -> int | None:
        number = None
        while self._numbered(0 if number is None else number + 1).exists():
            number = 0 if number is None else number + 1
        return number

    def _is_dead(self, number: int) -> bool:
        path = self._numbered(number)
        try:
            status = path.stat()
        except FileNotFoundError:  # just given back
            return False
        if is_gone(_read(path)) or time.time() - status.st_mtime > _CERTAINLY_DEAD:
            return True
        identity = (status.st_ino, status.st_mtime_ns)
        if self._seen is None or (self._seen.number, self._seen.identity) != (number, identity):
            self._seen = _Seen(number, identity, self._clock())
        return self._clock() - self._seen.since > self._expiry

    def _create(self, number: int) -> bool:
        path = self._numbered(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as stream:  # succeeds for one only
                stream.write(readable_json(this_process()))
        except FileExistsError:
            return False
        return True

    def _keep(self) -> None:
        path = self._numbered(self._number or 0)
        while not self._ended.wait(self._renew):
            try:
                os.utime(path)
            except OSError as error:
                _logger.warning("the lease cannot be renewed: %s", error)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
