import json
import os
import subprocess
import threading
import time

import pytest

from dispose_stages.batch import heartbeat
from dispose_stages.batch.heartbeat import Heartbeat, is_alive, read_heartbeat, wait_for_other_job


@pytest.fixture
def path(tmp_path):
    return tmp_path / "stats" / "0-of-1.running.json"


def never():
    return False


def test_a_job_shows_its_progress_and_tidies_up(path):
    """The file follows the job and vanishes with it."""
    beat = Heartbeat(path, {"stage": "pose"}, interval=0.01)
    assert beat.hold(never)
    with beat:
        beat.progress(3, 9, "i0.png")
        deadline = time.monotonic() + 10
        while read_heartbeat(path)["done"] != 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        content = read_heartbeat(path)
        assert (content["done"], content["total"], content["label"]) == (3, 9, "i0.png")
        assert content["pid"] == os.getpid()
        assert is_alive(content)
    assert not path.exists()
    assert list(path.parent.iterdir()) == []


def test_a_job_killed_on_this_machine_blocks_nobody(path):
    """The process is known to be gone, so its shard is taken at once."""
    child = subprocess.Popen(["true"])
    child.wait()
    beat = Heartbeat(path, {})
    assert beat.claim()
    content = json.loads(path.read_text()) | {"pid": child.pid}
    path.write_text(json.dumps(content))
    assert not is_alive(content)
    assert beat.hold(lambda: pytest.fail("waited"))


def test_a_job_of_another_machine_is_waited_for(path):
    """While its file changes, or may still change, the shard is left to it."""
    beat = Heartbeat(path, {})
    beat.claim()
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "updated": time.time()}))
    asked = []

    def stop():
        asked.append(1)
        return True

    assert not beat.hold(stop)
    assert asked
    assert read_heartbeat(path)["host"] == "elsewhere"


def test_the_shard_is_taken_when_the_other_job_ends(path, monkeypatch):
    """Waiting ends with the other job's file."""
    monkeypatch.setattr(heartbeat, "_POLL_SECONDS", 0.01)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "updated": time.time()}))
    remover = threading.Timer(0.1, path.unlink)
    remover.start()
    assert Heartbeat(path, {}).hold(never)
    remover.join()
    assert read_heartbeat(path)["pid"] == os.getpid()


def test_a_silent_job_of_another_machine_is_given_up(path, monkeypatch):
    """Its clock may be wrong, so what counts is that the file does not change."""
    monkeypatch.setattr(heartbeat, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(heartbeat, "STALE_SECONDS", 0.05)
    path.parent.mkdir(parents=True)
    ahead = time.time() + 3600
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "updated": ahead}))
    assert wait_for_other_job(path, never)


def test_two_jobs_that_start_together_do_not_both_get_the_shard(path):
    """Creating the file succeeds once."""
    assert Heartbeat(path, {}).claim()
    assert not Heartbeat(path, {}).claim()


def test_an_unreadable_file_counts_as_none(path):
    """Whatever lies there is replaced."""
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert read_heartbeat(path) is None
    assert Heartbeat(path, {}).hold(never)
