"""Runs Snakemake for `dispose run`: with the run shown instead, or with its own words."""

from __future__ import annotations

import shlex
import signal
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.rules import CALLER
from dispose_stages.batch.run_lock import last_holder
from dispose_stages.cli.closing import closing_lines
from dispose_stages.cli.supervision import Supervised, supervise
from dispose_stages.cli.terminal import say
from dispose_stages.config import Config
from dispose_stages.errors import StoreError

_TAIL_LINES = 20
_TAIL_BYTES = 1 << 16


class Spoken:
    """Snakemake's output as it is."""

    def run(self, command: Sequence[str], on_start: Callable[[Supervised], None]) -> Supervised:
        """Name the command and run it."""
        say(shlex.join(command), err=True)
        return supervise(command, lambda asked: self.tell(stopping(asked)), on_start)

    def tell(self, text: str) -> None:
        """At once; any thread may."""
        say(text, err=True)

    def close(self, ended: Supervised) -> None:
        """The workflow has said it."""


class Watched:
    """The run is shown; Snakemake's output goes to ``logs/snakemake.log``."""

    def __init__(self, config: Config) -> None:
        from rich.console import Console

        from dispose_stages.cli.console import open_screen
        from dispose_stages.cli.watch import Watch

        self._layout = RunLayout(config.run_dir)
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._screen = open_screen(self._console)
        self._watch = Watch(config, self._screen)
        self._start = 0

    def run(self, command: Sequence[str], on_start: Callable[[Supervised], None]) -> Supervised:
        """Look at the run until Snakemake has ended."""
        log = self._layout.snakemake_log
        log.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix="dispose-said-") as said, log.open("ab") as output:
            self._start = output.tell()
            self._watch.listen(Path(said.name))
            ended = supervise(
                command,
                lambda asked: self.tell(stopping(asked)),
                on_start,
                output=output,
                meanwhile=self._watch.look,
                environment={CALLER: said.name},
            )
            self._watch.look(ended)
        self._screen.close()
        return ended

    def tell(self, text: str) -> None:
        """With the next look: this may interrupt one."""
        self._watch.tell(text)

    def close(self, ended: Supervised) -> None:
        """What came out, or why nothing did."""
        self._watch.flush()
        log = self._layout.snakemake_log
        if ended.status and not ended.stopped_by and not self._watch.refused:
            say(f"Snakemake ended with an error; the end of {log}:", err=True)
            say(_tail(log, self._start), err=True)
        if last_holder(self._layout.run_lock) == ended.pid:
            with suppress(StoreError):
                outcomes = RunOutcomes.read(self._layout.root)
                width = self._console.width if self._console.is_terminal else 100
                lines = closing_lines(outcomes, self._watch.seconds, self._watch.began, width)
                say("\n".join(lines))


Conductor = Spoken | Watched
"""Runs Snakemake, with something to be seen meanwhile."""


def stopping(asked: signal.Signals) -> str:
    """What is said when somebody wants the run to stop."""
    return f"{asked.name}: stopping; jobs save what they have"


def _tail(log: Path, start: int) -> str:
    """The last lines that were written since."""
    with log.open("rb") as stream:
        end = stream.seek(0, 2)
        stream.seek(max(start, end - _TAIL_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])
