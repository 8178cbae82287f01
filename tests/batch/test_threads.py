import os
import platform
import subprocess
import sys

import pytest

from dispose_stages.batch.machine import granted_threads, keep_threads_awake, limit_threads


@pytest.fixture
def cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))


@pytest.mark.usefixtures("cores")
@pytest.mark.parametrize(
    ("asked", "environ", "expected"),
    [
        (0, {}, 16),
        (0, {"SLURM_CPUS_PER_TASK": "4"}, 4),
        (0, {"SLURM_CPUS_PER_TASK": "32", "OMP_NUM_THREADS": "8"}, 8),
        (0, {"SLURM_CPUS_PER_TASK": "64"}, 16),
        (0, {"OMP_NUM_THREADS": "4,2"}, 16),
        (0, {"OMP_NUM_THREADS": "0"}, 16),
        (3, {"SLURM_CPUS_PER_TASK": "4"}, 3),
    ],
)
def test_granted_threads(asked, environ, expected):
    """The smallest of what scheduler, rule and affinity allow, unless the configuration says."""
    assert granted_threads(asked, environ) == expected


def test_limit_threads_tells_all_libraries():
    """Every library's variable is set, also over another value."""
    environ = {"OMP_NUM_THREADS": "64"}
    limit_threads(1, environ)
    assert set(environ.values()) == {"1"}
    assert {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"} <= set(environ)


def test_threads_wait_awake_unless_somebody_says_otherwise():
    """Both variables of OpenMP are set; a value from outside stays."""
    environ = {"OMP_WAIT_POLICY": "passive"}
    keep_threads_awake(environ)
    assert environ == {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "300000"}


REUSE = """
import resource
from dispose_stages.batch.machine import keep_freed_memory
if {keep}:
    keep_freed_memory()
def faults(size=40 << 20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    text = b"x" * size
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an option of glibc")
def test_freed_memory_is_used_again():
    """A second large array finds the pages of the first; left alone, glibc fetches new ones."""
    counts = [
        int(
            subprocess.run(
                [sys.executable, "-c", REUSE.format(keep=keep)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for keep in (True, False)
    ]
    assert 10 * counts[0] < counts[1]
