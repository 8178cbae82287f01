"""What a job's ledger does not say, because it differs from run to run: time, memory, host.

One file per shard, ``stats/<stage>/<shard>.json``; attempts and seconds per unit add up over
retries and re-runs.
"""

from __future__ import annotations

import math
import os
import resource
import socket
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, get_type_hints

from dispose_stages.atomic import write_text
from dispose_stages.errors import StoreError
from dispose_stages.records import read_record, record_text

_FORM = ("dispose-stats", 2)
KEPT_ATTEMPTS = 50
"""Older attempts are forgotten."""


class Ending(StrEnum):
    """How an attempt ended."""

    RUNNING = "running"
    """Or killed without notice."""
    DONE = "done"
    UNFINISHED = "unfinished"
    BAD_NODE = "bad_node"
    GIVEN_UP = "given_up"
    ERROR = "error"


@dataclass(slots=True)
class Attempt:
    """One run of a shard's job.

    Attributes:
        number: As counted by Snakemake, from 1.
        job: Of the scheduler; empty without one.
        device: ``cuda`` or ``cpu``.
        gpu: Its model, where torch used it.
        gpus: How many it had, with a process on each.
        started: Unix time.
        seconds: From start to end.
        found: Units whose artifact was there.
        computed: Units computed.
        loads: How often networks were loaded, 0 or 1.
        load_seconds: What that took.
        peak_memory: Bytes resident.
        peak_gpu_memory: Bytes allocated by torch.
    """

    number: int
    host: str = field(default_factory=socket.gethostname)
    job: str = field(default_factory=lambda: os.environ.get("SLURM_JOB_ID", ""))
    device: str = ""
    gpu: str = ""
    gpu_driver: str = ""
    gpus: int = 1
    started: float = field(default_factory=time.time)
    seconds: float = 0.0
    outcome: Ending = Ending.RUNNING
    found: int = 0
    computed: int = 0
    loads: int = 0
    load_seconds: float = 0.0
    peak_memory: int = 0
    peak_gpu_memory: int = 0

    def measure(self) -> None:
        """Take time and memory as of now."""
        self.seconds = round(time.time() - self.started, 3)
        self.peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        torch = sys.modules.get("torch")
        if torch is not None and self.device == "cuda" and torch.cuda.is_initialized():
            self.peak_gpu_memory = torch.cuda.max_memory_allocated()
            self.gpu = torch.cuda.get_device_name()
            self.gpu_driver = _gpu_driver()


def _gpu_driver() -> str:
    try:
        return Path("/sys/module/nvidia/version").read_text(encoding="ascii").strip()
    except (OSError, ValueError):  # not NVIDIA's, or hidden from a container
        return ""


_KINDS = get_type_hints(Attempt)


@dataclass(slots=True)
class JobStats:
    """The whole file.

    Attributes:
        seconds: Per unit, when it was last computed.
        cards: Per unit that a GPU computed, its model and driver.
        attempts: Oldest first; the last one is the present one.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    cards: dict[str, tuple[str, str]] = field(default_factory=dict)

    def gpu_of(self, unit_id: str) -> tuple[str, str]:
        """Model and driver of the GPU that computed a unit; those of all where none is noted."""
        return self.cards.get(unit_id, ("", "")) if self.cards else self.gpus()

    @classmethod
    def joined(cls, parts: Iterable[JobStats]) -> JobStats:
        """Those of several jobs as of one."""
        whole = cls()
        for part in parts:
            whole.seconds |= part.seconds
            whole.attempts += part.attempts
            whole.cards |= part.cards
        return whole

    @property
    def seconds_per_unit(self) -> float | None:
        """Mean over computed units; None before the first."""
        return sum(self.seconds.values()) / len(self.seconds) if self.seconds else None

    @property
    def load_seconds(self) -> float:
        """To load the networks, in the mean."""
        loads = [attempt.load_seconds for attempt in self.attempts if attempt.loads]
        return sum(loads) / len(loads) if loads else 0.0

    @property
    def device(self) -> str:
        """On which most units were computed; empty for none."""
        on_gpu = sum(a.computed for a in self.attempts if a.device == "cuda")
        computed = sum(a.computed for a in self.attempts)
        return ("cuda" if 2 * on_gpu > computed else "cpu") if self.seconds else ""

    def gpus(self) -> tuple[str, str]:
        """Models and drivers of all GPUs that computed units; empty for none."""
        computed = [attempt for attempt in self.attempts if attempt.computed]
        models, drivers = ({a.gpu for a in computed}, {a.gpu_driver for a in computed})
        return ", ".join(sorted(models - {""})), ", ".join(sorted(drivers - {""}))

    def bad_nodes_in_a_row(self) -> int:
        """Latest attempts in which everything failed on the machine, unbroken by any other end."""
        count = 0
        for attempt in reversed(self.attempts):
            if attempt.outcome is Ending.BAD_NODE:
                count += 1
            elif attempt.outcome in {Ending.DONE, Ending.GIVEN_UP}:
                break
        return count

    def computed(self, unit_id: str, seconds: float) -> None:
        """A unit was computed in the present attempt."""
        self.seconds[unit_id] = round(seconds, 4)
        self.cards.pop(unit_id, None)
        attempt = self.attempts[-1]
        attempt.computed += 1
        attempt.measure()
        if attempt.gpu:
            self.cards[unit_id] = (attempt.gpu, attempt.gpu_driver)

    @classmethod
    def read(cls, path: Path) -> JobStats:
        """The file, or an empty one: statistics never stop a job."""
        try:
            return read_record(path, *_FORM, cls._build, sealed=False)
        except StoreError:
            return cls()

    @classmethod
    def _build(cls, content: dict[str, Any]) -> JobStats:
        attempts = [
            Attempt(**{name: _KINDS[name](value) for name, value in attempt.items()})
            for attempt in content["attempts"]
        ]
        cards = {unit: (str(a), str(b)) for unit, (a, b) in content.get("cards", {}).items()}
        stats = cls({unit: float(s) for unit, s in content["seconds"].items()}, attempts, cards)
        times = (time for a in attempts for time in (a.started, a.seconds, a.load_seconds))
        if not all(map(math.isfinite, (*stats.seconds.values(), *times))):
            raise ValueError("a time is not finite")
        return stats

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        attempts = [asdict(attempt) for attempt in self.attempts[-KEPT_ATTEMPTS:]]
        cards = {"cards": self.cards} if self.cards else {}
        content = {"seconds": self.seconds, "attempts": attempts, **cards}
        write_text(path, record_text(*_FORM, content))
