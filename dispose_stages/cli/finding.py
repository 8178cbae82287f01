"""What `dispose doctor` finds: a line that is well, or one with what to do."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: What, in a word or two.
        text: How it is.
        remedy: What to do; empty where all is well.
        stops: Without the remedy runs fail; else it is needed for some runs only.
    """

    subject: str
    text: str
    remedy: str = ""
    stops: bool = True

    @property
    def mark(self) -> str:
        """``ok``, ``note`` or ``fix``."""
        if not self.remedy:
            return "ok"
        return "fix" if self.stops else "note"


def said_by(command: Sequence[str]) -> tuple[str, str]:
    """Output of a program, and what went wrong with calling it, one of both empty."""
    try:
        done = subprocess.run(  # noqa: S603 - no shell, fixed arguments
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"no answer within {_SECONDS} s"
    except OSError as error:
        return "", error.strerror or str(error)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        return "", last[0] if last else f"ended with status {done.returncode}"
    return done.stdout, ""
