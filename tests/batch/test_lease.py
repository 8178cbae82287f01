import os
import subprocess
import sys
import time

import pytest

from dispose_stages.atomic import readable_json
from dispose_stages.batch.lease import EXPIRY_SECONDS, Lease
from dispose_stages.batch.liveness import this_process
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.listing import stored_files


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store/pose/ab/abcdef00.lease"


class Clock:
    """Time passes when the test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def leave(path, number=0, **changes):
    """A lease of some other process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lease = path.with_name(f"{path.name}.{number}") if number else path
    lease.write_text(readable_json(this_process() | changes))
    return lease


def gone():
    """The number of a process that has ended."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_one_gets_it_and_gives_it_back(path):
    """While one holds the lease no other gets it; afterwards nothing is left of it."""
    first, second = Lease(path), Lease(path)
    assert first.acquire()
    assert first.held
    assert not second.acquire()
    assert f"process {os.getpid()}" in second.holder()
    first.release()
    assert list(path.parent.iterdir()) == []
    with second:
        assert second.acquire()
    assert list(path.parent.iterdir()) == []
    assert first.acquire()  # may be taken again
    first.release()


def test_a_process_killed_on_this_machine_blocks_nobody(path):
    """It is known to be gone, so its lease is taken over at once and cleared away."""
    leave(path, pid=gone())
    with Lease(path) as lease:
        assert lease.acquire()
        assert not Lease(path).acquire()
    assert list(path.parent.iterdir()) == []


def test_a_silent_machine_loses_it_after_a_while(path):
    """Clocks may differ, so what counts is how long the file did not change as seen from here."""
    lease_file = leave(path, host="elsewhere")
    clock = Clock()
    lease = Lease(path, clock=clock)
    assert not lease.acquire()
    clock.now = EXPIRY_SECONDS - 1
    assert not lease.acquire()
    os.utime(lease_file, ns=(1, time.time_ns() + 3_600_000_000_000))  # it lives, an hour ahead
    assert not lease.acquire()
    clock.now += EXPIRY_SECONDS - 1
    assert not lease.acquire()
    clock.now += 2
    assert lease.acquire()
    lease.release()


def test_a_lease_of_last_week_is_not_waited_for(path):
    """No clock is that wrong."""
    lease_file = leave(path, host="elsewhere")
    os.utime(lease_file, (0, 0))
    with Lease(path) as lease:
        assert lease.acquire()


def test_of_two_that_take_over_one_gets_it(path):
    """Both saw the same dead lease; the slower one cannot push the faster one out."""
    leave(path, pid=gone())
    first, second = Lease(path), Lease(path)
    newest = second._newest()
    assert first.acquire()
    assert not second._create(newest + 1)
    assert not second.acquire()
    first.release()


def test_whoever_took_over_and_died_is_taken_over_too(path):
    """Numbers go on growing until somebody finishes."""
    for number in range(3):
        leave(path, number, pid=gone())
    with Lease(path) as lease:
        assert lease.acquire()
        assert (path.parent / f"{path.name}.3").exists()
    assert list(path.parent.iterdir()) == []


def test_an_interrupted_creation_expires_like_any_other(path):
    """An empty file names nobody, so only time tells."""
    path.parent.mkdir(parents=True)
    path.touch()
    clock = Clock()
    lease = Lease(path, clock=clock)
    assert not lease.acquire()
    clock.now = EXPIRY_SECONDS + 1
    assert lease.acquire()
    lease.release()


def test_a_held_lease_is_renewed(path):
    """A long computation keeps its lease although others watch it for longer than the expiry."""
    with Lease(path, renew=0.01) as lease:
        assert lease.acquire()
        os.utime(path, (0, 0))
        end = time.monotonic() + 20
        while path.stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert time.time() - path.stat().st_mtime < 60


RACER = """
import sys, time
from pathlib import Path
from dispose_stages.batch.lease import Lease
path, log = Path(sys.argv[1]), Path(sys.argv[2])
while time.time() < float(sys.argv[3]):
    pass
for _ in range(50):
    lease = Lease(path)
    while not lease.acquire():
        time.sleep(0.0005)
    inside = log.with_suffix(".inside")
    inside.touch(exist_ok=False)  # fails if anybody else is in
    inside.unlink()
    lease.release()
"""


def test_processes_never_hold_it_together(path, tmp_path):
    """Three processes fight for one lease, fifty times each."""
    start = str(time.time() + 1.0)
    command = [sys.executable, "-c", RACER, str(path), str(tmp_path / "log"), start]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in ("", *sys.path) if p)}
    racers = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(3)]
    for racer in racers:
        _, complaint = racer.communicate(timeout=100)
        assert racer.returncode == 0, complaint.decode()


def test_forgotten_leases_are_found_by_gc(tmp_path):
    """Nobody takes over the lease of a unit that was finished before its job died."""
    store = ArtifactStore(tmp_path)
    path = store.lease_path("pose", "abcdef00")
    leave(path)
    leave(path, 1)
    listed = [(file.key, file.finished) for file in stored_files(tmp_path, ("pose",))]
    assert listed == [("abcdef00", False)] * 2
    assert list(store.keys("pose")) == []
