"""Run a program with all it starts, and stop it in order when this process is told to stop.

The program gets a process group of its own, so that a signal reaches it through here and once:
Ctrl-C in a terminal, `kill` and `timeout` on this process alone, and a service manager all look
the same to it. It is told with SIGINT, at which Snakemake ends its jobs instead of waiting for
them, shells wait for their command, and jobs save what they have.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import IO

LOOK_SECONDS = 0.5
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(slots=True)
class Supervised:
    """A program that was run.

    Attributes:
        status: Its exit status; 128 and the signal's number if it died of one.
        stopped_by: The signal that asked for the stop, if any.
    """

    pid: int = 0
    status: int = 1
    stopped_by: signal.Signals | None = None

    def tell(self, number: signal.Signals) -> None:
        """Pass a signal on to the program and all it started."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)


def supervise(
    command: Sequence[str],
    on_stop: Callable[[signal.Signals], None],
    on_start: Callable[[Supervised], None] = lambda _: None,
    *,
    output: IO[bytes] | None = None,
    meanwhile: Callable[[Supervised], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Supervised:
    """Run a command to its end.

    Args:
        command: Program and arguments; its standard input is empty.
        on_stop: Called at the first signal that asks for a stop.
        on_start: Called once the program runs.
        output: Where all it prints goes; None: where this process prints.
        meanwhile: Called twice a second while it runs.
        environment: Variables beside this process's.
    """
    run = Supervised()

    def stop(number: int, _frame: FrameType | None) -> None:
        asked = signal.Signals(number)
        # `timeout` signals its child and then the child's group: twice the same. Only a person who
        # presses Ctrl-C again means more by it.
        if run.stopped_by is None or asked is signal.SIGINT:
            run.tell(signal.SIGINT)
        if run.stopped_by is None:
            run.stopped_by = asked
            with suppress(OSError):  # the terminal may be gone
                on_stop(asked)

    def pause(_number: int, _frame: FrameType | None) -> None:
        run.tell(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)  # goes on here when this process is continued
        run.tell(signal.SIGCONT)

    with _handling(dict.fromkeys(_STOPPING, stop) | {signal.SIGTSTP: pause}):
        process = subprocess.Popen(  # noqa: S603 - no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | dict(environment or {}),
            process_group=0,
        )
        run.pid = process.pid
        if run.stopped_by is not None:  # before there was anybody to tell
            run.tell(signal.SIGINT)
        on_start(run)
        try:
            status = _wait(process, run, meanwhile)
        except BaseException:  # a defect here leaves nothing running
            run.tell(signal.SIGINT)
            process.wait()
            raise
    run.status = status if status >= 0 else 128 - status
    return run


def _wait(
    process: subprocess.Popen[bytes],
    run: Supervised,
    meanwhile: Callable[[Supervised], None] | None,
) -> int:
    while meanwhile is not None:
        meanwhile(run)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(LOOK_SECONDS)
    return process.wait()


@contextmanager
def _handling(
    handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]],
) -> Iterator[None]:
    """Set handlers; of the signals that somebody switched off (`nohup`) only SIGINT is wanted.

    A background process of a script ignores Ctrl-C, and what it starts would inherit that.
    """
    former = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        if number is signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
