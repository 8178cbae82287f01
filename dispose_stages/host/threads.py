"""How many CPU threads a job may use."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping

_LIBRARIES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def granted_threads(asked: int, environ: Mapping[str, str]) -> int:
    """Threads of this job.

    Args:
        asked: `compute.threads`; 0 leaves it to the scheduler.
        environ: ``SLURM_CPUS_PER_TASK`` (the job) and ``OMP_NUM_THREADS`` (Snakemake's rule) bound
            what the process may be scheduled on.
    """
    if asked:
        return asked
    limits = [len(os.sched_getaffinity(0))]
    for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS"):
        value = environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            limits.append(int(value))
    return min(limits)


def limit_threads(count: int, environ: MutableMapping[str, str]) -> None:
    """Tell all numeric libraries; to be called before they are imported."""
    for name in _LIBRARIES:
        environ[name] = str(count)
    if "torch" in sys.modules:  # it has read the environment already
        sys.modules["torch"].set_num_threads(count)
