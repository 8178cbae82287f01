"""The one place where text for people leaves the program: terminals obey what they are shown.

Names of files and cells of manifests are other people's text, and so are messages that quote them.
"""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType

import click

from dispose_stages.wording import printable


def say(text: str, *, err: bool = False) -> None:
    """Print lines with everything that could steer a terminal written as escapes."""
    click.echo(printable(text), err=err)


class PrintableFormatter(logging.Formatter):
    """Does the same for the log, messages and tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        return printable(super().format(record))


def show_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """What Python prints of a defect; stands in for `sys.excepthook`."""
    sys.stderr.write(printable("".join(traceback.format_exception(kind, error, trace))))
