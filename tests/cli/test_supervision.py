import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from dispose_stages.cli.supervision import supervise

COUNTING = """
    import signal, sys, time
    seen = []
    signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    open(sys.argv[1], "w").close()
    end = time.monotonic() + float(sys.argv[2])
    while time.monotonic() < end:
        time.sleep(0.05)
    sys.exit(len(seen))
"""


def script(text, *arguments):
    return [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)]


def send_when(path, *numbers, pause=0.3):
    """Send signals to this process once a file is there."""

    def send():
        while not path.exists():
            time.sleep(0.02)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(pause)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.parametrize("status", [0, 3, 75])
def test_the_programs_status_is_passed_on(status):
    """Nothing else happened."""
    ended = supervise(script(f"raise SystemExit({status})"), lambda asked: None)
    assert (ended.status, ended.stopped_by) == (status, None)


def test_a_program_that_died_of_a_signal_has_the_shells_status():
    """128 and the signal."""
    ended = supervise(script("import os; os.kill(os.getpid(), 9)"), lambda asked: None)
    assert ended.status == 137


@pytest.mark.parametrize(
    ("numbers", "received"),
    [
        ([signal.SIGTERM], 1),
        ([signal.SIGTERM, signal.SIGTERM, signal.SIGHUP], 1),
        ([signal.SIGINT], 1),
        ([signal.SIGINT, signal.SIGINT], 2),
        ([signal.SIGTERM, signal.SIGINT], 2),
    ],
)
def test_the_program_is_told_once_and_again_only_by_a_person(tmp_path, numbers, received):
    """A repeated Ctrl-C is impatience; a repeated SIGTERM is how programs say it once."""
    asked = []
    sender = send_when(tmp_path / "ready", *numbers)
    ended = supervise(script(COUNTING, tmp_path / "ready", 2), asked.append)
    sender.join()
    assert ended.status == received
    assert ended.stopped_by is numbers[0]
    assert asked == [numbers[0]]


def test_handlers_are_as_before_afterwards():
    """Also those of signals nobody sent."""
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP)]
    supervise(script("pass"), lambda asked: None)
    after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP)]
    assert before == after


def test_ctrl_z_pauses_the_program_and_fg_continues_it(tmp_path):
    """The whole group stands still meanwhile."""
    runner = f"""
        from dispose_stages.cli.supervision import supervise
        program = ["sh", "-c", "while :; do echo x >> {tmp_path}/ticks; sleep 0.05; done"]
        supervise(program, lambda asked: None)
    """
    process = subprocess.Popen(script(runner))
    ticks = tmp_path / "ticks"
    while not ticks.exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTSTP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    time.sleep(0.2)
    size = ticks.stat().st_size
    time.sleep(0.5)
    assert ticks.stat().st_size == size
    process.send_signal(signal.SIGCONT)
    while ticks.stat().st_size == size:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
