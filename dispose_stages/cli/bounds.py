"""Part of a manifest, and a budget: the options of ``dispose run`` that bound it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from dispose_stages.errors import ConfigError

if TYPE_CHECKING:
    from dispose_stages.batch.layout import RunLayout
    from dispose_stages.cli.supervision import Supervised

_POLL_SECONDS = 5.0
_PATIENCE_SECONDS = 600.0
"""For the units under way; then jobs are stopped as by Ctrl-C."""
EXIT_BUDGET = 75
"""Something is left; the same command continues (``EX_TEMPFAIL``), as of a job."""


_OPTIONS = (
    click.option("--only", metavar="IDS", help="A pilot: these pairs (comma-separated) only."),
    click.option("--first", type=click.IntRange(min=1), help="A pilot: the first rows only."),
    click.option("--sample", type=click.IntRange(min=1), help="A pilot: rows drawn at random."),
    click.option("--seed", type=click.IntRange(min=0), help="Of --sample; 0 without."),
    click.option(
        "--max-gpu-hours",
        type=click.FloatRange(min=0, min_open=True),
        metavar="HOURS",
        help="Stop in order once this command's jobs have used so many.",
    ),
    click.option(
        "--until-time",
        metavar="TIME",
        help="Stop in order at 18:30, or at a date and time such as 2026-11-27T18:30.",
    ),
    click.option("--yes", is_flag=True, help="Do not ask about limits.confirm_gpu_hours."),
)


def bounded(command: Callable[..., None]) -> Callable[..., None]:
    """Options for a command: `pilot` (settings), `max_gpu_hours`, `until` and `yes`."""

    @wraps(command)
    def with_bounds(
        *,
        until_time: str | None,
        only: str | None,
        first: int | None,
        sample: int | None,
        seed: int | None,
        **others: Any,
    ) -> None:
        from dispose_stages.batch.budget import parse_until

        until = parse_until(until_time) if until_time is not None else None
        pilot = _pilot_settings(only, first, sample, seed)
        command(pilot=pilot, until=until, **others)

    for option in reversed(_OPTIONS):
        with_bounds = option(with_bounds)
    return with_bounds


def _pilot_settings(
    only: str | None, first: int | None, sample: int | None, seed: int | None
) -> dict[str, Any]:
    if seed is not None and sample is None:
        raise ConfigError("--seed belongs to --sample")
    given = {"first": first, "sample": sample, "seed": seed}
    pilot: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if only is not None:
        pilot["only"] = [name for part in only.split(",") if (name := part.strip())]
        if not pilot["only"]:
            raise ConfigError("--only names no pair")
    return {"pilot": pilot} if pilot else {}


class BudgetWatch:
    """Looks at what a command has used, and stops it in order when its budget is spent.

    Args:
        max_gpu_hours: Of all its jobs together.
        until: Unix time.
        tell: Takes a line for people.

    Attributes:
        spent: What is spent; empty while there is some left.
    """

    def __init__(
        self,
        max_gpu_hours: float | None,
        until: float | None,
        layout: RunLayout,
        tell: Callable[[str], None],
    ) -> None:
        self._bounds = (max_gpu_hours, until)
        self._tell = tell
        self._layout = layout
        self._began = time.time()
        self._ended = threading.Event()
        self.spent = ""

    def begin(self, run: Supervised) -> None:
        """Watch a program that has just begun, until `end` is called."""
        self._ended = threading.Event()
        if any(bound is not None for bound in self._bounds):
            threading.Thread(target=self._watch, args=(run,), daemon=True).start()

    def end(self) -> None:
        """The program has ended."""
        self._ended.set()

    def _watch(self, run: Supervised) -> None:
        from dispose_stages.batch.budget import halt, living_jobs, spent
        from dispose_stages.batch.slurm import cancel_waiting

        while not (used := spent(self._layout, self._began, *self._bounds)):
            if self._ended.wait(_POLL_SECONDS):
                return
        self.spent = used
        self._tell(f"the budget is spent: {used}; jobs save what they have")
        halt(self._layout, used)
        cancel_waiting(self._layout.root)
        running, latest = living_jobs(self._layout), time.monotonic() + _PATIENCE_SECONDS
        while running & living_jobs(self._layout) and time.monotonic() < latest:
            if self._ended.wait(1.0):
                return
        # What is alive now has begun after the halt and has nothing to save.
        run.tell(signal.SIGINT)
