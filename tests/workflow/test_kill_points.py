"""Jobs that die at any operation on a file: nothing is lost, nothing is computed again."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dispose_stages.batch.ledger import Ledger
from dispose_stages.batch.unit import Status
from tests.toy_run import plan_run

POINTS = 30
REPOSITORY = Path(__file__).parents[2]


def perform(folder, *stories, kind=""):
    """What `tests.workflow.killed_at` tells of each story, a list of operations to die at."""
    texts = [kind + ",".join(map(str, points)) for points in stories]
    command = [sys.executable, "-m", "tests.workflow.killed_at", str(folder), *texts]
    paths = [str(REPOSITORY), *(path for path in sys.path if path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A planned run of 2 x 3 pairs with several shards."""
    folder = tmp_path_factory.mktemp("killed")
    seconds = dict.fromkeys(("pose", "motion", "sample", "mux"), 40.0)
    root = folder / "run"
    root.mkdir()
    plan_run(root, 2, 3, shards={"minutes": 1, "seconds_per_unit": seconds})
    root.rename(folder / "planned")
    return folder


@pytest.fixture(scope="module")
def undisturbed(planned):
    """Outputs of a run without accidents, and its number of operations."""
    (story,) = perform(planned, [])
    (count,) = [int(number) for event, number, _ in story["notes"] if event == "finished"]
    assert count > 10 * POINTS
    ledgers = (planned / "run").glob("results/demo/ledger/mux/*.json")
    entries = [entry for path in ledgers for entry in Ledger.read(path).units.values()]
    assert [entry.status for entry in entries] == [Status.DONE] * 6
    return story["outputs"], count


def check(story, expected):
    """Same outputs; no unit was computed after it was committed."""
    assert story["outputs"] == expected
    committed = set()
    for event, *unit in story["notes"]:
        if event == "computed":
            assert tuple(unit) not in committed, f"{unit} was finished"
        elif event == "committed":
            committed.add(tuple(unit))


def test_a_run_killed_once_and_resumed_ends_as_if_undisturbed(planned, undisturbed):
    """At thirty moments, spread over the run's operations on files, one kill each."""
    expected, operations = undisturbed
    draw = random.Random(0)  # noqa: S311 - moments, no secrets
    width = operations // POINTS
    points = [number * width + draw.randint(1, width) for number in range(POINTS)]
    stories = perform(planned, *([point] for point in points))
    for point, story in zip(points, stories, strict=True):
        events = Counter(event for event, *_ in story["notes"])
        assert (events["started"], events["finished"]) == (2, 1), f"not killed at {point}"
        check(story, expected)


def test_a_run_killed_again_and_again_gets_through(planned, undisturbed):
    """Fifteen kills in a row, each after a little progress."""
    expected, operations = undisturbed
    draw = random.Random(1)  # noqa: S311 - moments, no secrets
    many = [[draw.randint(1, operations // 10) for _ in range(15)] for _ in range(3)]
    for story in perform(planned, *many):
        assert sum(event == "finished" for event, *_ in story["notes"]) == 1
        check(story, expected)


def test_a_disk_that_fills_and_gets_room_ends_as_if_undisturbed(planned, undisturbed):
    """Full at ten different moments, one after the other, then room: the same bytes."""
    probe = planned / "probe"
    probe.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "none", probe], check=False)
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    subprocess.run(["umount", probe], check=True)
    rooms = [4096 * pages for pages in (0, 1, 2, 3, 5, 8, 8, 8, 8, 8, 8, 8, 8, 8)]
    (story,) = perform(planned, rooms, kind="disk:")
    assert sum(story["filled"]) >= 10
    assert story["outputs"] == undisturbed[0]
