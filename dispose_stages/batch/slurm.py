"""What the main process must know of SLURM: its jobs' names, orphans, and how to ask for states.

After a kill -9 of snakemake its SLURM jobs wait and run on, known to nobody. Their names begin with
a prefix that stands for the run, so the next start finds them and cancels them: those that run save
their state at the SIGTERM that comes first, and the same units are submitted again.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from dispose_stages.batch.programs import ProgramError, answer

_logger = logging.getLogger(__name__)

LONGEST_PREFIX = 50
"""What the plugin allows."""
_AT_ONCE = 500

Command = Callable[[Sequence[str]], str]


def job_name_prefix(given: str | None, run_dir: Path) -> str:
    """Beginning of the names of a run's jobs: readable, and different for every run's folder.

    Args:
        run_dir: ``<results>/<run>``.
    """
    digest = _digest(run_dir)
    readable = re.sub(r"[^A-Za-z0-9-]+", "-", "-".join(filter(None, [given, run_dir.name])))
    return f"{readable[: LONGEST_PREFIX - 11].strip('-')}-{digest}"


def _digest(run_dir: Path) -> str:
    return hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:10]


def _call(command: Sequence[str]) -> str:
    return answer(command, seconds=120)  # a busy controller cancels slowly


def cancel_orphans(prefix: str, call: Command = _call) -> list[str]:
    """Cancel this user's jobs whose names begin with a prefix; returns their numbers.

    To be called by the one main process of the run, before it submits anything.
    """
    try:
        return _cancel(call, lambda name: name.startswith(f"{prefix}_"))
    except ProgramError as error:
        _logger.warning("jobs of a killed run could not be looked for or cancelled: %s", error)
        return []


def cancel_waiting(run_dir: Path, call: Command = _call) -> list[str]:
    """Cancel a run's jobs that have not begun; returns their numbers, none where SLURM is not."""
    mark = f"-{_digest(run_dir)}_"
    try:
        return _cancel(call, lambda name: mark in name, "--states", "PENDING")
    except ProgramError:
        return []


def _cancel(call: Command, is_meant: Callable[[str], bool], *options: str) -> list[str]:
    """Cancel those of this user's jobs whose name is meant."""
    lines = call(["squeue", "--me", *options, "--noheader", "--format", "%A|%j"]).splitlines()
    parts = (line.strip().partition("|") for line in lines)
    jobs = [number for number, _, name in parts if is_meant(name)]
    for start in range(0, len(jobs), _AT_ONCE):
        call(["scancel", *jobs[start : start + _AT_ONCE]])
    return jobs


def settle_status_command(given: str | None, call: Command = _call) -> str | None:
    """``squeue`` instead of ``sacct`` on a cluster that keeps no accounts.

    The plugin takes sacct wherever the program is installed, and would wait for its answers for
    ever where there is no slurmdbd behind it.

    Args:
        given: By the profile or chosen by the plugin.
    """
    if given != "sacct":
        return given
    try:
        call(["sacct", "--allocations", "--noheader", "--starttime", "now"])
    except ProgramError:
        _logger.info("sacct does not answer; asking squeue for the jobs' states")
        return "squeue"
    return given
