"""What the main process must know of SLURM: its jobs' names, orphans, and how to ask for states.

After a kill -9 of snakemake its SLURM jobs wait and run on, known to nobody. Their names begin with
a prefix that stands for the run, so the next start finds them and cancels them: those that run save
their state at the SIGTERM that comes first, and the same units are submitted again.
"""

from __future__ import annotations

import hashlib
import logging
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

_logger = logging.getLogger(__name__)

LONGEST_PREFIX = 50
"""What the plugin allows."""
_AT_ONCE = 500

Command = Callable[[Sequence[str]], str]


def job_name_prefix(given: str | None, run_dir: Path) -> str:
    """Beginning of the names of a run's jobs: readable, and different for every run's folder.

    Args:
        given: By the profile.
        run_dir: ``<results>/<run>``.
    """
    digest = _digest(run_dir)
    readable = re.sub(r"[^A-Za-z0-9-]+", "-", "-".join(filter(None, [given, run_dir.name])))
    return f"{readable[: LONGEST_PREFIX - 11].strip('-')}-{digest}"


def _digest(run_dir: Path) -> str:
    return hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:10]


def _call(command: Sequence[str]) -> str:
    done = subprocess.run(  # noqa: S603 - no shell, fixed words and job numbers
        command, capture_output=True, text=True, errors="replace", timeout=120, check=True
    )
    return done.stdout


def cancel_orphans(prefix: str, call: Command = _call) -> list[str]:
    """Cancel this user's jobs whose names begin with a prefix; returns their numbers.

    To be called by the one main process of the run, before it submits anything.
    """
    try:
        jobs = _find(prefix, call)
        for start in range(0, len(jobs), _AT_ONCE):
            call(["scancel", *jobs[start : start + _AT_ONCE]])
    except (OSError, subprocess.SubprocessError) as error:
        _logger.warning("jobs of a killed run could not be looked for or cancelled: %s", error)
        return []
    return jobs


def _find(prefix: str, call: Command) -> list[str]:
    return [number for number, name in _jobs(call) if name.startswith(f"{prefix}_")]


def _jobs(call: Command, *options: str) -> list[tuple[str, str]]:
    """Number and name of this user's jobs."""
    lines = call(["squeue", "--me", *options, "--noheader", "--format", "%A|%j"]).splitlines()
    parts = (line.strip().partition("|") for line in lines)
    return [(number, name) for number, _, name in parts]


def cancel_waiting(run_dir: Path, call: Command = _call) -> list[str]:
    """Cancel a run's jobs that have not begun; returns their numbers, none where SLURM is not."""
    mark = f"-{_digest(run_dir)}_"
    try:
        waiting = _jobs(call, "--states", "PENDING")
        jobs = [number for number, name in waiting if mark in name]
        for start in range(0, len(jobs), _AT_ONCE):
            call(["scancel", *jobs[start : start + _AT_ONCE]])
    except (OSError, subprocess.SubprocessError):
        return []
    return jobs


def settle_status_command(given: str | None, call: Command = _call) -> str | None:
    """``squeue`` instead of ``sacct`` on a cluster that keeps no accounts.

    The plugin takes sacct wherever the program is installed, and would wait for its answers for
    ever where there is no slurmdbd behind it.

    Args:
        given: By the profile or chosen by the plugin.
        call: Runs a command.
    """
    if given != "sacct":
        return given
    try:
        call(["sacct", "--allocations", "--noheader", "--starttime", "now"])
    except (OSError, subprocess.SubprocessError):
        _logger.info("sacct does not answer; asking squeue for the jobs' states")
        return "squeue"
    return given
