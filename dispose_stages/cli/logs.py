"""Logging and progress of commands: a bar where a person watches, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dispose_stages.cli.terminal import PrintableFormatter
from dispose_stages.wording import one_line

_LINE_SECONDS = 10.0


def configure_logging(*, verbose: bool) -> None:
    """Plain lines on stderr; called once per process, by commands that do long work."""
    handler = logging.StreamHandler(sys.stderr)
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler.setFormatter(PrintableFormatter(form, "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    logging.captureWarnings(capture=True)
    for noisy in ("PIL", "numcodecs", "asyncio", "matplotlib", "urllib3", "filelock"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@contextmanager
def unit_progress(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """Yield a callback ``(done, total, label)`` that shows how far a job is."""
    if not sys.stderr.isatty():
        yield _line_progress(title)
        return
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    with tqdm(desc=title, unit="unit", dynamic_ncols=True) as bar, logging_redirect_tqdm():

        def show(done: int, total: int, label: str) -> None:
            bar.total = total
            bar.set_postfix_str(one_line(label)[-40:], refresh=False)
            bar.update(done - bar.n)

        yield show


def _line_progress(title: str) -> Callable[[int, int, str], None]:
    logger = logging.getLogger(title)
    last = float("-inf")

    def show(done: int, total: int, label: str) -> None:
        nonlocal last
        if done < total and time.monotonic() - last < _LINE_SECONDS:
            return
        last = time.monotonic()
        logger.info("%d of %d units (%s)", done, total, label)

    return show
