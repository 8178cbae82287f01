"""Runs a command on copies of a folder and kills it at chosen operations on files.

A program of its own, because it forks: ``killed_command.py FOLDER KILLS WORD...``. What is in
``<FOLDER>/kept`` is restored to ``<FOLDER>/run``, the working directory; the command dies by
SIGKILL at so many operations, spread over all of them, each in a fresh copy, and is then called
again. Prints a line of JSON per copy: digests of all files after the kill, and after the second
call; the first line is that of a copy in which nothing happened.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pyarrow.parquet  # noqa: F401 - once, not in every child
import zarr  # noqa: F401

from dispose_stages.cli import cli
from tests.workflow.killed_at import kill_at


def call(words: list[str], root: Path, point: int) -> int | None:
    """In a process of its own, which dies at that operation; returns their number if it lives."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reading)
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 1)
        counter = kill_at(point, root)
        cli.main(words, standalone_mode=False)
        os.write(writing, str(counter[0]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        told = stream.read()
    _, status = os.waitpid(child, 0)
    if status not in {0, signal.SIGKILL}:
        sys.exit(f"{words}: ended with {status}")
    return int(told) if told else None


def digests(root: Path) -> dict[str, str]:
    """Of all files and links, by their path."""
    paths = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }


def tell(folder: Path, kills: int, words: list[str]) -> None:
    """All copies."""
    root, number = folder / "run", 0
    for kill in range(kills + 1):
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(folder / "kept", root, symlinks=True)
        os.chdir(root)
        point = kill * number // (kills + 1)
        lived = call(words, root, point)
        number = lived or number
        told = [digests(root)]
        if kill:
            call(words, root, 0)
            told.append(digests(root))
        json.dump({"killed": lived is None, "files": told}, sys.stdout)
        sys.stdout.write("\n")


if __name__ == "__main__":
    tell(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
