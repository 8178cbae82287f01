import fcntl

import pytest

from dispose_stages.batch.run_lock import RunBusyError, RunLock, holder


def test_who_looks_on_sees_the_holder_and_hinders_nobody(tmp_path):
    """Held, free, and never taken."""
    path = tmp_path / "plan" / "run.lock"
    assert holder(path) == ""
    lock = RunLock(path)
    lock.acquire()
    assert holder(path).startswith("process ")
    with pytest.raises(RunBusyError, match="works on this run"):
        RunLock(path).acquire()
    lock.release()
    assert holder(path) == ""


def test_a_look_does_not_keep_a_run_from_starting(tmp_path, monkeypatch):
    """Who finds the lock taken tries once more a moment later."""
    path = tmp_path / "run.lock"
    path.touch()
    stream = path.open("rb")
    fcntl.flock(stream, fcntl.LOCK_SH)
    monkeypatch.setattr("time.sleep", lambda _: stream.close())
    lock = RunLock(path)
    lock.acquire()
    assert lock.exclusive
    lock.release()
