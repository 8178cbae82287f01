"""Small programs of the system that are asked for a few lines, such as squeue."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from dispose_stages.errors import DisposeError

PATIENCE = 30.0
"""Seconds."""


class ProgramError(DisposeError):
    """A program is missing, fails, or does not answer in time."""


def answer(command: Sequence[str], seconds: float = PATIENCE) -> str:
    """What a program prints; it gets no input, and no shell sees its words.

    Args:
        command: The program and its arguments.

    Raises:
        ProgramError: Says which program and, in a line, what went wrong.
    """
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProgramError(f"{command[0]}: no answer within {seconds:g} s") from None
    except OSError as error:
        raise ProgramError(f"{command[0]}: {error.strerror or error}") from None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with status {done.returncode}"]
        raise ProgramError(f"{command[0]}: {last[0]}")
    return done.stdout
