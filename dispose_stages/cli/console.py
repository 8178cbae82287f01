"""What `dispose run` shows: one live block on a terminal, a line per minute and event elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.text import Text

from dispose_stages.batch.news import Event, EventKind
from dispose_stages.batch.status import JobNow, RunStatus, StageStatus
from dispose_stages.wording import clock_time, duration, named, one_line, printable

MINUTE = 60.0
SHOWN_OF_A_KIND = 10
"""Further failures of one stage for one reason are only counted, so that they hide nothing else."""
RUNNING = "running"
"""What goes on while jobs run."""
_NAME_WIDTH = 15
_SHARES = ("done", "cached", "failed", "running", "pending")
_STYLES = {
    "done": "green",
    "cached": "green dim",
    "failed": "red",
    "running": "cyan",
    "pending": "dim",
}
_BLOCKS = dict(zip(_SHARES, "█▓╳▒░", strict=True))  # noqa: RUF001 - a cross, not an X
_ASCII = dict(zip(_SHARES, "#=x>.", strict=True))


@dataclass(frozen=True, slots=True)
class View:
    """A moment of a run.

    Attributes:
        doing: What goes on, in a few words.
        seconds: Since the command began.
        status: How it stands; None before it is planned.
        in_hand: Stage to what its jobs have in hand.
    """

    doing: str
    seconds: float
    status: RunStatus | None = None
    in_hand: Mapping[str, str] = field(default_factory=dict)


class LiveScreen:
    """One block at the bottom of a terminal, drawn anew with every look; lines go above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def line(self, text: str, style: str = "") -> None:
        """Above the block."""
        self._console.print(Text(printable(text), style))

    def show(self, view: View) -> None:
        """Draw the block."""
        if self._live is None:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(block(view, self._console.width, self._console.encoding), refresh=True)

    def close(self) -> None:
        """Take the block away."""
        if self._live is not None:
            self._live.stop()
            self._live = None


class LineScreen:
    """Lines with the time of day, for a pipe or a file.

    Args:
        now: Clock, Unix time.
    """

    def __init__(self, console: Console, now: Callable[[], float] = time.time) -> None:
        self._console = console
        self._now = now
        self._due = 0.0
        self._doing = ""

    def line(self, text: str, style: str = "") -> None:
        """With the time of day."""
        moment = clock_time(self._now())
        self._console.print(Text(f"{moment} {printable(text)}", style), soft_wrap=True)

    def show(self, view: View) -> None:
        """Once a minute, and when something else is done."""
        if view.doing == self._doing and self._now() < self._due:
            return
        self._due, self._doing = self._now() + MINUTE, view.doing
        self.line(overview(view))

    def close(self) -> None:
        """Nothing to take away."""


Screen = LiveScreen | LineScreen
"""Where a run is shown; after its end come plain lines."""


def open_screen(console: Console) -> Screen:
    """The one that fits."""
    fits = console.is_terminal and not console.is_dumb_terminal
    return LiveScreen(console) if fits else LineScreen(console)


def block(view: View, width: int, encoding: str = "utf-8") -> Text:
    """A line per stage and one about the whole.

    Args:
        width: Of the terminal; no line is longer.
    """
    all_signs = encoding.lower().startswith("utf")
    signs = _BLOCKS if all_signs else _ASCII
    lines = [
        _stage_line(stage, width, signs, view.in_hand.get(stage.stage, ""))
        for stage in (view.status.stages if view.status else ())
    ]
    lines.append(Text(f"{clock_time(view.seconds, since=True)}  {foot(view)}"))
    for line in lines:
        line.rstrip()
        line.truncate(width - 1, overflow="ellipsis" if all_signs else "crop")
    whole = Text("\n").join(lines)
    return whole if all_signs else Text(whole.plain.encode("ascii", "replace").decode())


def _stage_line(stage: StageStatus, width: int, signs: Mapping[str, str], in_hand: str) -> Text:
    over = stage.done + stage.failed + stage.blocked
    line = Text(f"{stage.stage:<{_NAME_WIDTH}}", style="bold" if stage.jobs else "")
    line.append_text(bar(stage, 16 if width < 100 else 24, signs))
    line.append(f" {f'{over}/{stage.total}':>9}  ", style="")
    notes = [in_hand] if in_hand else []
    counts = {"failed": stage.failed, "blocked": stage.blocked, "cached": stage.cached}
    notes += [f"{count} {name}" for name, count in counts.items() if count]
    return line.append(" · ".join(notes), style="red" if stage.failed else "dim")


def bar(stage: StageStatus, width: int, signs: Mapping[str, str]) -> Text:
    """Shares of a stage's units; what there is of a kind shows, however few they are."""
    counts = {
        "done": stage.done - stage.cached,
        "cached": stage.cached,
        "failed": stage.failed + stage.blocked,
        "running": stage.running,
        "pending": stage.pending,
    }
    cells = {
        name: max(1, width * n // max(1, stage.total)) if n else 0 for name, n in counts.items()
    }
    largest = max(_SHARES, key=lambda name: counts[name])
    cells[largest] += width - sum(cells.values())
    text = Text()
    for name in ("cached", "done", "failed", "running", "pending"):
        text.append(signs[name] * max(0, cells[name]), style=_STYLES[name])
    return text


def time_left(status: RunStatus) -> str:
    """Nothing where nothing is left, or too little is known."""
    left = status.seconds_left
    return f"{'perhaps' if status.guessed else 'about'} {duration(left)}" if left else ""


def foot(view: View) -> str:
    """How long it will take, what goes on beside jobs, and how many rows are through."""
    if view.status is None:
        return view.doing
    left = time_left(view.status)
    parts = [f"{left} left"] if left else []
    parts += [] if view.doing == RUNNING else [view.doing]
    rows = view.status.rows
    parts += [f"{rows.delivered} of {rows.total} rows delivered"]
    parts += [f"{rows.failed} failed"] if rows.failed else []
    return " · ".join(parts)


def overview(view: View) -> str:
    """The same with all stages that are begun and not through, on one line."""
    stages = view.status.stages if view.status else ()
    busy = [s for s in stages if s.jobs]
    told = (
        f"{s.stage} {s.done + s.failed + s.blocked}/{s.total}"
        + (f" ({view.in_hand[s.stage]})" if view.in_hand.get(s.stage) else "")
        for s in busy
    )
    return " · ".join([*told, foot(view)])


def in_hand(jobs: tuple[JobNow, ...], name_of: Callable[[JobNow], str]) -> str:
    """What some jobs of one stage have in hand: the first by name, the others as a number."""
    shown = [job for job in jobs if job.unit]
    if not shown:
        return "starting" if jobs else ""
    first = shown[0]
    step = f" {first.step}/{first.steps}" if first.steps else ""
    more = f" +{len(jobs) - 1}" if len(jobs) > 1 else ""
    return f"{one_line(name_of(first))}{step}{more}"


class EventLines:
    """Events as lines in our words; of many of one kind the first only."""

    def __init__(self) -> None:
        self._shown: Counter[tuple[str, str]] = Counter()

    def of(self, events: list[Event]) -> Iterator[tuple[str, str]]:
        """(text, style) of those that are to be shown."""
        for event in events:
            kind = (event.stage, event.code)
            self._shown[kind] += 1
            if self._shown[kind] <= SHOWN_OF_A_KIND:
                yield event_line(event), "red" if event.kind is EventKind.FAILED else "yellow"
            elif self._shown[kind] == SHOWN_OF_A_KIND + 1:
                yield f"{event.stage}: more with {event.code}; they are counted only", "yellow"


_JOB_ENDS = {
    "bad_node": "all its units failed there; it is tried again, on another machine if there is one",
    "given_up": "its units are given up after several attempts",
    "error": "it ended with an error; its log says more",
}


def event_line(event: Event) -> str:
    """One event as a line."""
    if event.kind is EventKind.JOB:
        (shard,) = event.subject
        return f"{event.stage} shard {shard} {event.message}: {_JOB_ENDS[event.code]}"
    who = named(event.subject)
    if event.kind is EventKind.WARNING:
        return f"warning  {who}: {event.stage}: {event.code}"
    return f"failed   {who}: {event.stage}: {event.code}: {one_line(event.message)}"
