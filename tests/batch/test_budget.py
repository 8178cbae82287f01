"""What a command has used, and when it is too much."""

import time
from datetime import datetime

import pytest

from dispose_stages.batch.budget import (
    halt,
    living_jobs,
    parse_until,
    spent,
    used_gpu_seconds,
)
from dispose_stages.batch.job import Job
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.lease import Lease, read_lease
from dispose_stages.batch.ledger import Shard
from dispose_stages.batch.stats import Attempt, Ending, JobStats
from dispose_stages.batch.stopping import StopSwitch
from dispose_stages.errors import ConfigError

NOON = datetime(2026, 11, 27, 12, 0)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("18:30", datetime(2026, 11, 27, 18, 30)),
        ("06:00", datetime(2026, 11, 28, 6, 0)),
        ("12:00", datetime(2026, 11, 28, 12, 0)),
        ("2026-12-01 07:15", datetime(2026, 12, 1, 7, 15)),
        ("2026-12-01", datetime(2026, 12, 1)),
    ],
)
def test_times_as_people_write_them(text, wanted):
    """A time of day is the next one; a date alone is its beginning."""
    assert parse_until(text, lambda: NOON) == wanted.timestamp()


@pytest.mark.parametrize(
    ("text", "what"), [("tomorrow", "no time"), ("25:00", "no time"), ("2026-11-27", "past")]
)
def test_times_that_are_none(text, what):
    """A typed error says what to write."""
    with pytest.raises(ConfigError, match=what):
        parse_until(text, lambda: NOON)


def attempt(began, seconds, device="cuda", outcome=Ending.DONE):
    return Attempt(1, device=device, started=began, seconds=seconds, outcome=outcome)


def test_ended_and_living_jobs_count_once(tmp_path):
    """Attempts before the command, on CPUs, and what a living job last said of itself do not."""
    layout, began = RunLayout(tmp_path), time.time() - 100
    old = attempt(began - 500, 400)
    JobStats({}, [old, attempt(began + 1, 30), attempt(began + 40, 7, device="cpu")]).write(
        layout.stats("sample", "0-of-2")
    )
    killed = attempt(began + 5, 11, outcome=Ending.RUNNING)
    JobStats({}, [killed]).write(layout.stats("sample", "1-of-2"))
    assert used_gpu_seconds(layout, began, time.time()) == pytest.approx(41)
    alive = attempt(time.time(), 20, outcome=Ending.RUNNING)
    JobStats({}, [alive]).write(layout.stats("mux", "0-of-1"))
    facts = {"device": "cuda", "started": alive.started}
    with Lease(layout.running("mux", "0-of-1"), facts) as lease:
        assert lease.acquire()
        assert len(living_jobs(layout)) == 1
        now = time.time() + 50
        assert used_gpu_seconds(layout, began, now) == pytest.approx(41 + 50, abs=2)
    assert living_jobs(layout) == set()


def test_a_spent_budget_says_what_of(tmp_path):
    """And nothing before."""
    layout, began = RunLayout(tmp_path), time.time() - 10
    JobStats({}, [attempt(began + 1, 3600)]).write(layout.stats("sample", "0-of-1"))
    assert spent(layout, began, 1.5, None) == ""
    assert "1.00 of 0.5 GPU hours" in spent(layout, began, 0.5, None)
    assert spent(layout, began, None, time.time() + 60) == ""
    assert "it is " in spent(layout, began, None, time.time() - 1)
    assert spent(layout, began, None, None) == ""


def test_jobs_heed_the_halt_wherever_they_run(tmp_path):
    """The file is looked for again and again, and its absence stops nothing."""
    layout, clock = RunLayout(tmp_path), iter(range(0, 1000, 10))
    switch = StopSwitch(now=lambda: float(next(clock)), halt=layout.halt)
    assert not switch()
    halt(layout, "enough")
    assert switch()
    assert switch.reason == "the budget is spent"


def test_a_job_that_is_just_ending_counts_once(tmp_path):
    """Its statistics say that it ended while it still has its lease, and the killed one before."""
    layout, began = RunLayout(tmp_path), time.time() - 100
    killed = attempt(began + 1, 20, outcome=Ending.RUNNING)
    ended = attempt(began + 40, 60)
    JobStats({}, [killed, ended]).write(layout.stats("sample", "0-of-1"))
    facts = {"device": "cuda", "started": ended.started}
    with Lease(layout.running("sample", "0-of-1"), facts) as lease:
        assert lease.acquire()
        used = used_gpu_seconds(layout, began, began + 100)
    assert used == pytest.approx(20 + 60)


def test_a_shards_lease_began_with_its_attempt(tmp_path):
    """By that it is known which attempt a living job is at."""
    shard = Shard("sample", "0-of-1", 1, (), {})
    job = Job(RunLayout(tmp_path), shard, StopSwitch(), 1, lambda *_: None)
    lease = job.lease()
    with lease:
        assert lease.acquire()
        said = read_lease(job.layout.running("sample", "0-of-1"))
    assert said["started"] == job.attempt.started
