"""A command of the user's that hears how a run ended."""

from __future__ import annotations

import os
import shlex
import subprocess
from contextlib import suppress

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.cli.terminal import say
from dispose_stages.errors import ConfigError, StoreError

PATIENCE = 300.0


def split_command(text: str) -> list[str]:
    """The words of a command; no shell will see it.

    Raises:
        ConfigError: A quotation is not closed, or there is no word.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"--on-end {text!r}: {error}") from None
    if not words:
        raise ConfigError("--on-end needs a command")
    return words


def call_on_end(words: list[str], layout: RunLayout, status: int, seconds: float) -> None:
    """Run the command; whatever becomes of it, the run has ended as it has."""
    try:
        subprocess.run(  # noqa: S603 - the user's own command, and no shell
            words,
            env=os.environ | facts(layout, status, seconds),
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        say(f"--on-end: {error}", err=True)


def facts(layout: RunLayout, status: int, seconds: float) -> dict[str, str]:
    """The environment variables that say how the run ended.

    Args:
        status: Exit status of the command.
    """
    values: dict[str, object] = {
        "run": layout.root.name,
        "run_dir": layout.root.absolute(),
        "status": status,
        "seconds": round(seconds),
    }
    with suppress(StoreError):
        rows = RunOutcomes.read(layout.root).counts()
        values |= {
            "rows": rows.total,
            "delivered": rows.delivered,
            "failed": rows.failed,
            "rejected": rows.rejected,
            "pending": rows.pending,
        }
    return {f"DISPOSE_{name.upper()}": str(value) for name, value in values.items()}
