import os
import subprocess
import sys

import pytest

from dispose_stages.batch.gpus import free_gpu, jobs_at_once
from dispose_stages.errors import DeviceError


def test_two_jobs_get_two_gpus(tmp_path):
    """The second job takes the GPU that the first one does not hold."""
    first, second = {}, {}
    with free_gpu(first, count=2, folder=tmp_path), free_gpu(second, count=2, folder=tmp_path):
        assert first == {"CUDA_VISIBLE_DEVICES": "0"}
        assert second == {"CUDA_VISIBLE_DEVICES": "1"}
    assert first == {}


def test_a_third_job_waits_until_asked_to_stop(tmp_path):
    """Where all are taken a job waits, and gives up when it is told to."""
    with (
        free_gpu({}, count=2, folder=tmp_path),
        free_gpu({}, count=2, folder=tmp_path),
        pytest.raises(DeviceError, match="free GPU"),
        free_gpu({}, count=2, folder=tmp_path, stop_requested=lambda: True),
    ):
        pytest.fail("there was no third GPU")


def test_a_released_gpu_is_taken_again(tmp_path):
    """The lock ends with its block."""
    for _ in range(2):
        with free_gpu({}, count=2, folder=tmp_path) as index:
            assert index == 0


def test_a_killed_jobs_gpu_is_free(tmp_path):
    """The kernel lets go of a lock whose process died without a word."""
    code = (
        "import os, sys; from pathlib import Path; from dispose_stages.batch.gpus import free_gpu\n"
        "with free_gpu({}, count=2, folder=Path(sys.argv[1])) as i: print(i); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    assert done.returncode == 9
    with free_gpu({}, count=2, folder=tmp_path) as index:
        assert index == 0


@pytest.mark.parametrize(
    ("environ", "count"), [({"CUDA_VISIBLE_DEVICES": "3"}, 8), ({}, 1), ({}, 0)]
)
def test_an_assigned_gpu_and_machines_without_several_are_left_alone(tmp_path, environ, count):
    """The scheduler's choice is respected; with one GPU there is nothing to choose."""
    before = dict(environ)
    with free_gpu(environ, count=count, folder=tmp_path / "locks") as index:
        assert index is None
        assert environ == before
    assert not (tmp_path / "locks").exists()


def planted_link(folder, elsewhere):
    """Somebody's link where this user's folder would be."""
    folder.symlink_to(elsewhere)


def open_to_all(folder, elsewhere):
    """A folder in which everybody may put links."""
    folder.mkdir()
    folder.chmod(0o777)


def anothers(folder, elsewhere):
    """A folder that another user made."""
    folder.mkdir()
    os.chown(folder, 12345, 12345)


def dangling_link(folder, elsewhere):
    """A link to what is not there."""
    folder.symlink_to(elsewhere / "none")


@pytest.mark.parametrize("plant", [planted_link, open_to_all, anothers, dangling_link])
def test_a_folder_that_somebody_planted_is_refused(tmp_path, plant):
    """Nothing is written through it, and the message says what to do."""
    if plant is anothers and os.geteuid() != 0:
        pytest.skip("only root gives folders away")
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "locks"
    elsewhere.mkdir()
    plant(folder, elsewhere)
    with pytest.raises(DeviceError, match="TMPDIR"), free_gpu({}, count=2, folder=folder):
        pytest.fail("it was followed")
    assert list(elsewhere.iterdir()) == []


def test_a_planted_lock_file_is_not_followed(tmp_path):
    """A link among the locks is an error of the system, and its target stays as it is."""
    target = tmp_path / "target"
    folder = tmp_path / "locks"
    folder.mkdir(mode=0o700)
    (folder / "0.lock").symlink_to(target)
    with pytest.raises(OSError, match=r"0\.lock"), free_gpu({}, count=2, folder=folder):
        pytest.fail("it was followed")
    assert not target.exists()


def test_an_assigned_gpu_lets_one_job_run_at_a_time():
    """Whatever the machine has."""
    assert jobs_at_once({"CUDA_VISIBLE_DEVICES": "3"}) == 1
