"""What `dispose doctor` finds: a line that is well, or one with what to do."""

from __future__ import annotations

from dataclasses import dataclass


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
