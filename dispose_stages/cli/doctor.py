"""``dispose doctor``: what this machine and environment lack."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dispose_stages.cli.terminal import say


@click.command()
def doctor() -> None:
    """Look at packages, ffmpeg, ONNX Runtime, GPU, memory, disk, SLURM and limits, a line each.

    `ok` is well, `note` matters for some runs, `fix` stops runs; both say what to do. Exit status
    1 if there is anything to fix. Disk and file system are those of the current folder.
    """
    from dispose_stages.cli.doctor_machine import machine
    from dispose_stages.cli.doctor_software import software

    stops = False
    for findings in (software(), machine(Path.cwd())):
        for finding in findings:
            say(f"{finding.mark:5} {finding.subject}: {finding.text}")
            if finding.remedy:
                say(f"      -> {finding.remedy}")
            stops |= finding.mark == "fix"
    sys.exit(int(stops))
