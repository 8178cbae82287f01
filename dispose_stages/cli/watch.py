"""Looks at a run from outside while Snakemake works on it, and shows what it sees.

Everything is read from the plan, the ledgers, statistics and leases, so that it is the same on a
cluster, after a restart, and whatever Snakemake's own words are; those go to a file.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.news import News
from dispose_stages.batch.outcomes import Files, RunOutcomes
from dispose_stages.batch.run_lock import last_holder
from dispose_stages.batch.status import JobNow, RunStatus, run_status
from dispose_stages.cli.console import RUNNING, EventLines, Screen, View, in_hand
from dispose_stages.cli.supervision import Supervised
from dispose_stages.config import Config
from dispose_stages.errors import DisposeError

_REST = 10.0
"""Between two looks at a large run passes so many times what a look takes."""


class Watch:
    """One command's view of its run.

    Args:
        now: Clock, Unix time.
    """

    def __init__(
        self, config: Config, screen: Screen, now: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._layout = RunLayout(config.run_dir)
        self._screen = screen
        self._said: Path | None = None
        self._said_so_far = 0
        self.refused = False
        """Whether the workflow has said itself why it does not run."""
        self._untold: deque[str] = deque()
        self._now = now
        self.began = now()
        self._files = Files()
        self._news = News(self.began)
        self._lines = EventLines()
        self._due = 0.0
        self._seen: tuple[RunStatus, dict[str, str]] | None = None

    @property
    def seconds(self) -> float:
        """Since the command began."""
        return self._now() - self.began

    def listen(self, said: Path) -> None:
        """From now on, read there what the workflow has to say to its caller."""
        self._said, self._said_so_far = said, 0

    def tell(self, text: str) -> None:
        """A line that the next look shows."""
        self._untold.append(text)

    def flush(self) -> None:
        """Show what was told since the last look."""
        while self._untold:
            self._screen.line(self._untold.popleft(), "yellow")

    def look(self, process: Supervised) -> None:
        """See what is new, and show it."""
        self._tell_what_was_said()
        self.flush()
        if last_holder(self._layout.run_lock) == process.pid and self._now() >= self._due:
            started = time.perf_counter()
            # A file that is just being replaced; the next look sees it.
            with suppress(OSError, DisposeError):
                self._read()
            self._due = self._now() + _REST * (time.perf_counter() - started)
        status, hands = self._seen or (None, {})
        doing = "stopping" if process.stopped_by else self._doing(status)
        self._screen.show(View(doing, self.seconds, status, hands))

    def _read(self) -> None:
        outcomes = RunOutcomes.read(self._layout.root, self._files)
        prior = self._config.shards.seconds_per_unit
        status = run_status(outcomes, prior, self.began)
        for text, style in self._lines.of(self._news.of(outcomes)):
            self._screen.line(text, style)

        def name_of(job: JobNow) -> str:
            pairs = self._news.pairs_of(outcomes, job.stage, job.unit)
            return pairs[0] if len(pairs) == 1 else job.label

        self._seen = status, {s.stage: in_hand(s.jobs, name_of) for s in status.stages}

    def _tell_what_was_said(self) -> None:
        if self._said is None:
            return
        text = self._said.read_text(encoding="utf-8", errors="replace")
        whole = text[self._said_so_far : text.rfind("\n") + 1]
        self._said_so_far += len(whole)
        for line in whole.splitlines():
            self.refused = self.refused or line.startswith("error: ")
            self._screen.line(line, "yellow")

    def _doing(self, status: RunStatus | None) -> str:
        if status is None:
            return "planning"
        if not self._layout.weights.exists():
            return "reading the checkpoints"
        if any(stage.jobs for stage in status.stages):
            return RUNNING
        left = any(stage.pending or stage.running for stage in status.stages)
        return "waiting for jobs to start" if left else "writing report and tables"
