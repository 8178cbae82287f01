import time

import pytest

from dispose_stages.batch.programs import ProgramError
from dispose_stages.batch.stopping import StopSwitch, find_deadline, parse_time_left


class Clock:
    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5:07", 307),
        ("1:00:00", 3600),
        ("2-03:04:05\n", 2 * 86400 + 3 * 3600 + 4 * 60 + 5),
        ("UNLIMITED", None),
        ("INVALID", None),
        ("", None),
    ],
)
def test_parse_time_left(text, seconds):
    """squeue's ways of writing a duration."""
    assert parse_time_left(text) == seconds


def test_find_deadline_from_the_environment():
    """SLURM's own variable comes first."""
    environ = {"SLURM_JOB_END_TIME": "1700000000", "SLURM_JOB_ID": "7"}
    assert find_deadline(environ, lambda command: pytest.fail("asked")) == 1_700_000_000


def test_find_deadline_asks_the_scheduler():
    """Releases without the variable are asked."""
    deadline = find_deadline({"SLURM_JOB_ID": "7"}, lambda command: "10:00")
    assert deadline == pytest.approx(time.time() + 600, abs=5)


def test_no_deadline_without_a_scheduler_or_an_answer():
    """Nothing is known on a plain machine, nor where squeue fails."""

    def refuse(command):
        raise ProgramError(command[0])

    assert find_deadline({}) is None
    assert find_deadline({"SLURM_JOB_ID": "7"}, refuse) is None
    assert find_deadline({"SLURM_JOB_ID": "7"}, lambda command: "UNLIMITED") is None


def test_without_a_deadline_only_a_press_stops():
    """The first reason is kept."""
    switch = StopSwitch()
    assert not switch()
    switch.press("SIGTERM received")
    switch.press("later")
    assert switch()
    assert switch.reason == "SIGTERM received"


def test_stops_when_the_next_unit_would_not_fit():
    """The slowest unit so far and the margin must fit into what is left."""
    clock = Clock()
    switch = StopSwitch(deadline=2000.0, now=clock)
    assert switch.margin == 50
    clock.time = 1800
    switch.unit_ended(300)
    assert switch(), "200 s are left, 350 s are needed"


def test_does_not_stop_a_unit_that_is_nearly_through():
    """Inside a unit only its remaining time counts, until the margin is reached."""
    clock = Clock()
    switch = StopSwitch(deadline=2000.0, now=clock)
    clock.time = 1600
    switch.unit_ended(300)
    assert not switch()
    clock.time = 1850
    assert not switch(), "50 s of work are left, and 150 s"
    clock.time = 1951
    assert switch(), "the unit is slower than any before it, and the margin begins"


def test_the_first_unit_is_tried_before_anything_is_known():
    """A job with little time makes what progress it can."""
    switch = StopSwitch(deadline=1030.0, now=Clock())
    assert not switch()


@pytest.mark.parametrize(("limit", "margin"), [(60, 20), (600, 30), (86_400, 120)])
def test_a_job_leaves_time_for_what_is_around_it(limit, margin):
    """A share of the limit, not too little and not too much."""
    assert StopSwitch(deadline=1000.0 + limit, now=Clock()).margin == margin
