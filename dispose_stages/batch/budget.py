"""What one command may use: GPU hours and time; when they are spent, jobs end in order.

Jobs look for the file `RunLayout.halt`, wherever they run; they finish the unit or save the
denoising step they are at, as they do before a time limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from dispose_stages.atomic import write_text
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.lease import read_lease
from dispose_stages.batch.stats import JobStats
from dispose_stages.config import GPU_STAGES, STAGES
from dispose_stages.errors import ConfigError

_SLACK = 3600.0
"""Statistics last written so long before the command began are not opened; clocks differ."""


def parse_until(text: str, now: Callable[[], datetime] = datetime.now) -> float:
    """Unix time of ``18:30`` (the next one) or ``2026-11-27 18:30``, in local time if not said.

    Raises:
        ConfigError: It is no time, or in the past.
    """
    try:
        clock = datetime.strptime(text.strip(), "%H:%M").time()
        until = datetime.combine(now().date(), clock)
        if until <= now():
            until += timedelta(days=1)
    except ValueError:
        try:
            until = datetime.fromisoformat(text.strip())
        except ValueError:
            wanted = "write 18:30, or a date and time such as 2026-11-27T18:30"
            raise ConfigError(f"--until-time {text!r} is no time; {wanted}") from None
    if until.timestamp() <= now().timestamp():
        raise ConfigError(f"--until-time {text!r} is past")
    return until.timestamp()


def spent(layout: RunLayout, began: float, gpu_hours: float | None, until: float | None) -> str:
    """What a command has used up, for people; empty while there is some left.

    Args:
        began: Unix time at which the command began.
        gpu_hours: That all its jobs together may use.
        until: Unix time until which they may run.
    """
    now = time.time()
    if until is not None and now >= until:
        return f"it is {datetime.fromtimestamp(now):%Y-%m-%d %H:%M}"
    if gpu_hours is not None:
        used = used_gpu_seconds(layout, began, now) / 3600
        if used >= gpu_hours:
            return f"{used:.2f} of {gpu_hours:g} GPU hours are used"
    return ""


def used_gpu_seconds(layout: RunLayout, began: float, now: float) -> float:
    """Seconds on GPUs since a time: of attempts that ended, and of jobs that are alive."""
    jobs = {
        (path.parent.name, path.name.partition(".")[0])
        for kind in (layout.stats, layout.running)
        for path in layout.existing(kind, *GPU_STAGES)
    }
    return sum(_used(layout, job, began, now) for job in jobs)


def _used(layout: RunLayout, job: tuple[str, str], began: float, now: float) -> float:
    """By one (stage, shard)."""
    lease = read_lease(layout.running(*job))
    seconds = 0.0
    if lease is not None and lease.get("device") == "cuda":
        seconds = (now - max(began, float(lease["started"]))) * max(1, int(lease.get("gpus", 1)))
    path = layout.stats(*job)
    try:
        attempts = JobStats.read(path).attempts if path.stat().st_mtime > began - _SLACK else []
    except FileNotFoundError:
        attempts = []
    return seconds + sum(
        attempt.seconds * attempt.gpus
        for attempt in attempts
        if attempt.device == "cuda"
        and attempt.started >= began
        and (lease is None or attempt.started != lease["started"])  # which counts already
    )


def halt(layout: RunLayout, why: str) -> None:
    """Ask all jobs of the run to end."""
    write_text(layout.halt, f"{why}\n")


def living_jobs(layout: RunLayout) -> set[tuple[str, object, object]]:
    """Jobs that hold a shard: path of its lease, process and when it began."""
    paths = layout.existing(layout.running, *STAGES)
    found = ((str(path), read_lease(path)) for path in paths)
    return {(path, lease.get("pid"), lease.get("started")) for path, lease in found if lease}
