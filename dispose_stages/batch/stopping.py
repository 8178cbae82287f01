"""When a job should end: asked to by a signal or a file, or before the time limit kills it."""

from __future__ import annotations

import logging
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from dispose_stages.batch.programs import ProgramError, answer

_logger = logging.getLogger(__name__)
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_TIME_LEFT = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)")
MARGIN_SHARE = 0.05
MARGIN_BOUNDS = (20.0, 120.0)
"""Time kept free at the end of a job: this share of what there was, within these seconds. The
Snakemake around the job needs some of them to end after it."""
HALT_POLL_SECONDS = 2.0


def parse_time_left(text: str) -> float | None:
    """Seconds of squeue's ``[days-]hours:minutes:seconds``; None for UNLIMITED and the like."""
    match = _TIME_LEFT.fullmatch(text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def find_deadline(
    environ: Mapping[str, str], ask: Callable[[Sequence[str]], str] = answer
) -> float | None:
    """Unix time at which SLURM ends this job; None outside of SLURM or without limit."""
    end = environ.get("SLURM_JOB_END_TIME", "")
    if end.isdigit():
        return float(end)
    job = environ.get("SLURM_JOB_ID", "")
    if not job.isdigit():
        return None
    try:  # releases before 22.05 do not set the variable
        left = parse_time_left(ask(["squeue", "--noheader", "--jobs", job, "--format", "%L"]))
    except ProgramError as error:
        _logger.warning("the job's time limit is unknown: %s", error)
        return None
    return None if left is None else time.time() + left


class StopSwitch:
    """Says when to stop; signals turn it on, and so does a deadline the next unit would miss.

    Args:
        deadline: Unix time at which the job is killed, if known.
        now: Clock, seconds since the epoch.
        halt: A file that turns it on, on whichever machine the job runs.
    """

    def __init__(
        self,
        deadline: float | None = None,
        now: Callable[[], float] = time.time,
        halt: Path | None = None,
    ) -> None:
        self._now = now
        self._halt = halt
        self._looked = 0.0
        self._deadline = deadline
        self._unit_started = now()
        self._slowest = 0.0
        self.reason = ""
        left = max(0.0, deadline - now()) if deadline is not None else 0.0
        self.margin = min(max(left * MARGIN_SHARE, MARGIN_BOUNDS[0]), MARGIN_BOUNDS[1])

    def unit_ended(self, seconds: float = 0.0) -> None:
        """Note the end of a unit and what it took; the next is expected to take the most so far."""
        self._slowest = max(self._slowest, seconds)
        self._unit_started = self._now()

    def press(self, reason: str) -> None:
        """Ask the job to stop."""
        self.reason = self.reason or reason

    def __call__(self) -> bool:
        """Whether the job should stop now."""
        if not self.reason and self._deadline is not None:
            now = self._now()
            expected = max(0.0, self._slowest - (now - self._unit_started))
            if now + expected + self.margin > self._deadline:
                self.press("the time limit is near")
        if not self.reason and self._halted():
            self.press("the budget is spent")
        return bool(self.reason)

    def _halted(self) -> bool:
        if self._halt is None or abs(self._now() - self._looked) < HALT_POLL_SECONDS:
            return False
        self._looked = self._now()
        return self._halt.exists()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Press on SIGTERM, SIGINT and SIGUSR1; a second SIGINT interrupts as usual."""

        def handle(number: int, _frame: FrameType | None) -> None:
            if number == signal.SIGINT and self.reason:
                raise KeyboardInterrupt
            self.press(f"{signal.Signals(number).name} received")

        previous = {number: signal.signal(number, handle) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
