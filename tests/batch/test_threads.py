import os

import pytest

from dispose_stages.batch.machine import granted_threads, limit_threads


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
