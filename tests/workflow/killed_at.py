"""Runs all jobs of a planned run in one process, and kills it at chosen operations.

A program of its own, because it forks: ``killed_at.py FOLDER STORY...``. A story is a list of
numbers such as ``17,4``: restore the run from ``<FOLDER>/planned``, die by SIGKILL at the 17th
operation on a file of the run (opened, renamed, linked, removed, created), start again, die at the
4th, start again and finish. Prints a line of JSON per story: what was noted on the way, and digests
of the outputs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import zarr  # noqa: F401 - once, not in every child

from dispose_stages.artifacts import Latents
from dispose_stages.batch.job import EXIT_DONE, EXIT_UNFINISHED, perform_shard
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.stage import ArtifactRepository
from dispose_stages.config import STAGES
from tests.toy_run import FactsInMemory

PAGE = 4096
OPERATIONS = frozenset(
    {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.truncate", "os.utime"}
)


class Notes:
    """Appends lines to a file that stays open."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def add(self, *words: str) -> None:
        """One line at once."""
        os.write(self._descriptor, (" ".join(words) + "\n").encode())


class NotingRepository(ArtifactRepository):
    """The real store; says when an artifact is safe."""

    def __init__(self, context, notes):
        super().__init__(context)
        self.notes = notes

    def commit(self, unit, artifact):
        committed = super().commit(unit, artifact)
        self.notes.add("committed", unit.stage, unit.id)
        return committed


class NotingStage:
    """A stage whose result follows from its key, and that keeps a state meanwhile."""

    revision = 1
    optional: frozenset[str] = frozenset()

    def __init__(self, name, notes):
        self.name = name
        self.notes = notes

    def repository(self, context):
        self.store = context.store
        if self.name == "ingest":
            return FactsInMemory()
        return NotingRepository(context, self.notes)

    def open(self, context):
        self.notes.add("loaded", self.name, context.device)
        return self

    def read(self, unit):
        return {"unit": unit}

    def compute(self, *, unit):
        self.notes.add("computed", unit.stage, unit.id)
        values = np.frombuffer(unit.key.encode(), dtype=np.uint8)[:8].astype(np.float32)
        if unit.stage == "sample":
            self.store.write_partial(unit.stage, unit.key, {"latents": values}, {"step": 1})
        return Latents(values.reshape(2, 4, 1, 1))


def kill_at(number: int, below: Path) -> list[int]:
    """Die at an operation; returns a counter (of one element) that grows with each."""
    counter = [0]
    prefix = str(below)

    def count(event: str, arguments: tuple) -> None:
        if event not in OPERATIONS or prefix not in str(arguments[:2]):
            return
        counter[0] += 1
        if counter[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    return counter


def perform_run(root: Path, notes: Notes, *, may_stop: bool = False) -> bool:
    """All shards of all stages that have no ledger yet, as Snakemake would call them.

    Returns:
        Whether all ran; a job that stops early ends the run where it may.
    """
    layout = RunLayout(root / "results/demo")
    for stage in STAGES:
        for path in sorted((layout.root / "plan" / stage).glob("*.json")):
            if layout.ledger(stage, path.stem).exists():
                continue
            code = NotingStage(stage, notes)
            status = perform_shard(stage, layout.root, path.stem, stage=code)
            if may_stop and status == EXIT_UNFINISHED:
                return False
            assert status == EXIT_DONE, (stage, path.stem, status)
    return True


def run_once(root: Path, point: int) -> None:
    """In a process of its own, which dies at the point; 0 lets it live."""
    child = os.fork()
    if child == 0:
        os.fsync = lambda descriptor: None  # a process dies here, not the machine
        notes = Notes(root / "notes.log")
        notes.add("started", str(point), "-")
        counter = kill_at(point, root)
        perform_run(root, notes)
        notes.add("finished", str(counter[0]), "-")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not point and status:
        sys.exit("the undisturbed process failed")


def run_on_small_disk(root: Path, room: int) -> bool:
    """In a process of its own, on a disk with so many bytes; whether it filled up."""
    used = sum(-(-path.stat().st_size // PAGE) * PAGE for path in root.rglob("*") if path.is_file())
    mount("-o", f"remount,size={used + room}", str(root))
    child = os.fork()
    if child == 0:
        notes = Notes(root.parent / "notes.log")
        notes.add("started", str(room), "-")
        done = perform_run(root, notes, may_stop=True)
        os._exit(0 if done else EXIT_UNFINISHED)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in {0, EXIT_UNFINISHED}:
        sys.exit(f"ended with {code} on a disk with {room} bytes")
    mount("-o", "remount,size=64m", str(root))
    return code == EXIT_UNFINISHED


def mount(*arguments: str) -> None:
    """Call mount."""
    subprocess.run(["mount", *arguments], check=True)


def tell_of_small_disks(folder: Path, rooms: list[int]) -> dict:
    """One story on a disk of its own that grows whenever it is full."""
    root = folder / "run"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    mount("-t", "tmpfs", "-o", "size=64m", "none", str(root))
    try:
        shutil.copytree(folder / "planned", root, dirs_exist_ok=True)
        filled = [run_on_small_disk(root, room) for room in rooms]
        perform_run(root, Notes(folder / "notes.log"))
        return {"filled": filled, "outputs": outputs(root)}
    finally:
        subprocess.run(["umount", str(root)], check=True)


def outputs(root: Path) -> dict[str, str]:
    """Relative path to digest of artifacts and ledgers."""
    paths = [*root.glob("store/**/*.zarr.zip"), *root.glob("results/demo/ledger/*/*.json")]
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    return {str(path.relative_to(root)): digest for path, digest in sorted(digests.items())}


def tell(folder: Path, points: list[int]) -> dict:
    """One story; always at the same path, which enters the units' names."""
    root = folder / "run"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(folder / "planned", root)
    for point in [*points, 0]:
        run_once(root, point)
    notes = [line.split() for line in (root / "notes.log").read_text().splitlines()]
    return {"notes": notes, "outputs": outputs(root)}


if __name__ == "__main__":
    for story in sys.argv[2:]:
        how = tell_of_small_disks if story.startswith("disk:") else tell
        numbers = [int(number) for number in story.removeprefix("disk:").split(",") if number]
        json.dump(how(Path(sys.argv[1]), numbers), sys.stdout)
        sys.stdout.write("\n")
