"""A small file that says a job is alive and how far it is; also keeps a second job off its shard.

After a killed run its cluster jobs live on as orphans. A new job of the same shard waits for the
orphan's end instead of computing the same units again; a dead job's file blocks nobody for long.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dispose_stages.atomic import readable_json, temporary_name, write_text
from dispose_stages.batch.liveness import is_gone, this_process

_logger = logging.getLogger(__name__)

BEAT_SECONDS = 15.0
STALE_SECONDS = 90.0
"""A file that has not changed for so long belongs to a dead job."""
_POLL_SECONDS = 1.0


def read_heartbeat(path: Path) -> dict[str, Any] | None:
    """What a job last said; None where there is no (readable) file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    usable = isinstance(content, dict) and isinstance(content.get("updated"), float | int)
    return content if usable else None


def is_alive(content: dict[str, Any]) -> bool:
    """Whether the job that wrote this is, as far as can be told from here, still running."""
    age = time.time() - float(content["updated"])
    return age < STALE_SECONDS and not is_gone(content)


def wait_for_other_job(path: Path, stop_requested: Callable[[], bool]) -> bool:
    """Wait until no other job holds the file.

    Clocks of two machines may differ, so staleness is the time without a change as seen from here;
    only a file much older than any clock's error is taken for dead at once.

    Returns:
        False if asked to stop before.
    """
    last, changed_at, told = None, time.monotonic(), False
    while (content := read_heartbeat(path)) is not None:
        age = time.time() - float(content["updated"])
        if is_gone(content) or age > 20 * STALE_SECONDS:
            break
        if content != last:
            last, changed_at = content, time.monotonic()
        if time.monotonic() - changed_at > STALE_SECONDS:
            break
        if stop_requested():
            return False
        if not told:
            holder = f"process {content.get('pid')} on {content.get('host')}"
            _logger.warning("%s is computing this shard; waiting for it", holder)
            told = True
        time.sleep(_POLL_SECONDS)
    return True


class Heartbeat:
    """Writes the file every few seconds while the job runs, and removes it at the end.

    Args:
        path: Of the file.
        facts: Plain values that do not change.
        interval: Seconds between writes.
    """

    def __init__(
        self, path: Path, facts: dict[str, Any], *, interval: float = BEAT_SECONDS
    ) -> None:
        self._path = path
        self._content: dict[str, Any] = {
            **facts,
            **this_process(),
            "started": time.time(),
            "done": 0,
            "label": "",
        }
        self._interval = interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def progress(self, done: int, total: int, label: str) -> None:
        """How far the job is; written with the next beat."""
        self._content = {**self._content, "done": done, "total": total, "label": label}

    def claim(self) -> bool:
        """Create the file unless another job did so first (in the meantime)."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(self._path)
        try:
            temporary.write_text(self._text(), encoding="utf-8")
            os.link(temporary, self._path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def hold(self, stop_requested: Callable[[], bool]) -> bool:
        """Claim the shard, waiting for another job that has it; False if asked to stop."""
        while wait_for_other_job(self._path, stop_requested):
            self._path.unlink(missing_ok=True)
            if self.claim():
                return True
        return False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)

    def _text(self) -> str:
        return readable_json({**self._content, "updated": time.time()})

    def _beat(self) -> None:
        while not self._ended.wait(self._interval):
            try:
                write_text(self._path, self._text())
            except OSError as error:
                _logger.warning("the heartbeat cannot be written: %s", error)
