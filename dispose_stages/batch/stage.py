"""What a job and a stage promise one another.

A stage's ``stage.py`` (``STAGE``) is found by name. Of Snakemake and the run's folder it knows
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from dispose_stages.batch.unit import Result, Unit
from dispose_stages.config import Config
from dispose_stages.errors import DisposeError
from dispose_stages.store.artifacts import ArtifactStore

T = TypeVar("T")


class InterruptedUnitError(DisposeError):
    """A unit stopped early because the job was asked to; its saved state is kept."""


@dataclass(slots=True)
class Context:
    """What a stage may use of its surroundings.

    Attributes:
        models_root: Folder of the checkpoints.
        device: ``cuda`` or ``cpu``, settled.
        videos: Folder of the delivered videos.
        stop_requested: True once the job should end: preemption, time limit, interrupt.
        say_step: Takes how many steps (or frames) of how many of the unit in hand are done.
    """

    config: Config
    store: ArtifactStore
    models_root: Path
    device: str
    videos: Path
    stop_requested: Callable[[], bool] = lambda: False
    say_step: Callable[[int, int], None] = lambda *_: None

    def read(self, unit: Unit, role: str, kind: type[T]) -> T:
        """An artifact that a unit reads.

        Raises:
            ArtifactMissingError: It is gone.
            ArtifactCorruptError: It is damaged or of another kind.
        """
        return self.store.read(unit.upstream[role][0], unit.inputs[role].key, kind)


class Worker(Protocol):
    """A stage with its networks loaded."""

    def read(self, unit: Unit) -> Mapping[str, Any]:
        """Open what a unit is made from: the arguments of `compute`.

        Raises:
            UnitError: A source cannot be used.
            ArtifactMissingError: An artifact is gone.
            ArtifactCorruptError: An artifact is damaged.
        """
        ...

    def compute(self, **inputs: Any) -> Any:
        """The unit's artifact, not yet committed.

        Raises:
            UnitError: The unit's data are at fault.
            InterruptedUnitError: `Context.stop_requested` became true.
        """
        ...


@runtime_checkable
class ForesightedWorker(Protocol):
    """A worker that opens one unit while it computes another."""

    def expect(self, unit: Unit) -> None:
        """Begin to open a unit in the background; `Worker.read` of it will most likely be next."""
        ...


class Repository(Protocol):
    """Where a stage's results are kept."""

    def find(self, unit: Unit) -> Result | None:
        """The valid result, if it is there."""
        ...

    def commit(self, unit: Unit, artifact: Any) -> Result:
        """Store a result atomically."""
        ...


@runtime_checkable
class LeasedRepository(Protocol):
    """A repository whose units are worth keeping a second job from."""

    def lease_path(self, unit: Unit) -> Path:
        """Where a job says that it is computing the unit."""
        ...


class ArtifactRepository:
    """The usual repository: one zarr artifact per unit."""

    def __init__(self, context: Context) -> None:
        self._store = context.store

    def find(self, unit: Unit) -> Result | None:
        """The artifact's digest if the store holds a readable one."""
        digest = self._store.digest(unit.stage, unit.key)
        return self._done(unit, digest) if digest else None

    def commit(self, unit: Unit, artifact: Any) -> Result:
        """Write the artifact."""
        return self._done(
            unit, self._store.write(unit.stage, unit.key, artifact, self.provenance(unit))
        )

    def provenance(self, unit: Unit) -> dict[str, Any]:
        """What explains the artifact beside its key."""
        return unit.provenance()

    def _done(self, unit: Unit, digest: str) -> Result:
        # Also where the artifact was found: a job may have died between writing and this.
        self._store.drop_partial(unit.stage, unit.key)
        return Result(key=unit.key, digest=digest)

    def lease_path(self, unit: Unit) -> Path:
        """Beside the artifact, hence shared by all runs that share the store."""
        return self._store.lease_path(unit.stage, unit.key)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the pipeline, as its ``stage.py`` offers it.

    Attributes:
        revision: Of its code; part of every key.
        open: Loads what `Worker.compute` needs; called at most once per job.
        optional: Roles of inputs whose failure the stage states itself, so that it blocks no unit.
    """

    name: str
    revision: int
    open: Callable[[Context], Any]
    repository: Callable[[Context], Repository] = ArtifactRepository
    optional: frozenset[str] = frozenset()
