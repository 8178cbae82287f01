import errno
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dispose_stages.atomic import readable_json
from dispose_stages.batch import lease as module
from dispose_stages.batch.lease import EXPIRY_SECONDS, Lease, boot_id, read_lease
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
    said = {"host": socket.gethostname(), "boot": boot_id(), "pid": os.getpid()}
    lease.write_text(readable_json(said | {"updated": time.time()} | changes))
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
    assert first.acquire()
    assert not second._create(path.with_name(f"{path.name}.1"))
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


def test_a_file_that_names_nobody_expires_like_any_other(path):
    """Left by a file system without hard links, or by somebody else: only time tells."""
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


def test_a_killed_process_leaves_a_whole_lease_or_none(path, monkeypatch):
    """Whatever was written when it died, nothing has the lease's name before it is whole."""
    for step in ("write_text", "link"):
        with monkeypatch.context() as patch:

            def die(*_, **__):
                raise KeyboardInterrupt

            patch.setattr(*((module.os, "link") if step == "link" else (Path, "write_text")), die)
            with pytest.raises(KeyboardInterrupt):
                Lease(path).acquire()
        assert list(path.parent.iterdir()) == []


def test_a_file_system_without_hard_links_has_leases_too(path, monkeypatch):
    """Creating the file succeeds for one there as well."""

    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(module.os, "link", refuse)
    with Lease(path) as lease:
        assert lease.acquire()
        assert not Lease(path).acquire()
        assert read_lease(path)["pid"] == os.getpid()


def test_those_who_look_on_see_the_progress(path):
    """Facts and what the holder says, as long as it lives."""
    with Lease(path, {"stage": "pose"}, renew=0.01) as lease:
        assert lease.acquire()
        lease.say(done=3, total=9)
        end = time.monotonic() + 20
        while read_lease(path).get("done") != 3 and time.monotonic() < end:
            time.sleep(0.01)
        seen = read_lease(path)
        assert (seen["stage"], seen["done"], seen["total"]) == ("pose", 3, 9)
    assert read_lease(path) is None
    leave(path, pid=gone())
    assert read_lease(path) is None
    leave(path, host="elsewhere", updated=time.time() - 2 * EXPIRY_SECONDS)
    assert read_lease(path) is None
    path.write_text("{")
    assert read_lease(path) is None


def test_waiting_ends_with_the_holder_or_when_asked_to_stop(path, monkeypatch):
    """A job that finds its shard taken waits, and obeys meanwhile."""
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    other = leave(path, host="elsewhere")
    assert not Lease(path).wait(lambda: True)
    remover = threading.Timer(0.1, other.unlink)
    remover.start()
    with Lease(path) as lease:
        assert lease.wait(lambda: False)
    remover.join()


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


def test_a_process_of_another_namespace_is_not_known_to_be_gone(path, monkeypatch):
    """Two jobs of one machine and boot may number processes apart; a number says nothing there."""
    leave(path, pid=gone())
    assert read_lease(path) is None
    link = Path.readlink
    elsewhere = Path("pid:[1]")
    monkeypatch.setattr(
        Path, "readlink", lambda p: elsewhere if str(p) == "/proc/self/ns/pid" else link(p)
    )
    assert read_lease(path) is not None
    assert not Lease(path).acquire()


def test_a_system_that_does_not_tell_its_boot_declares_nobody_gone(path, monkeypatch):
    """Without ``/proc`` every process would look gone; then only time tells."""
    monkeypatch.setattr(module, "boot_id", lambda: "")
    leave(path, boot="", pid=gone())
    assert not Lease(path).acquire()
