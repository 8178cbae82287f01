"""What a stage and the runner promise one another.

Stages know neither Snakemake nor where a run lies. They implement `Stage` and `Worker`, and get
everything else through `Context` and `ReadyUnit`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from dispose_stages.config import Config
from dispose_stages.errors import DisposeError
from dispose_stages.store.artifacts import ArtifactStore


class InterruptedUnitError(DisposeError):
    """A unit stopped early because the job was asked to; its saved state is kept."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """An artifact a unit reads.

    Attributes:
        stage: Where it comes from.
        key: Under which the store holds it.
        digest: Of its content.
        facts: What its ledger entry says beside.
        unit: Id of the unit that made it.
    """

    stage: str
    key: str
    digest: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    unit: str = ""


@dataclass(frozen=True, slots=True)
class ReadyUnit:
    """A unit whose inputs are all there.

    Attributes:
        stage: Which stage.
        id: Unit id; the pair's id for ``mux``.
        label: For people.
        key: Identity of its artifact.
        params: Plain values the stage reads.
        sources: Role to file.
        upstream: Role to artifact.
    """

    stage: str
    id: str
    label: str
    key: str
    params: Mapping[str, Any]
    sources: Mapping[str, Path]
    upstream: Mapping[str, Upstream]

    def attributes(self) -> dict[str, Any]:
        """What went into the artifact, for its own metadata."""
        return {
            "unit": self.id,
            "params": dict(self.params),
            "upstream": {
                role: {"stage": item.stage, "key": item.key, "digest": item.digest}
                for role, item in self.upstream.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Committed:
    """An artifact that is safely there.

    Attributes:
        key: Identity, as the ledger names it.
        digest: Of its content.
        facts: Small plain results for later stages.
    """

    key: str
    digest: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Context:
    """What a stage may use of its surroundings.

    Attributes:
        config: The run's configuration.
        store: Artifacts of all stages.
        models_root: Folder of the checkpoints.
        device: ``cuda`` or ``cpu``, settled.
        videos: Folder of the delivered videos.
        stop_requested: True once the job should end: preemption, time limit, interrupt.
        notes: Per-unit remarks for the stats (memory rung, batch), filled by the worker.
    """

    config: Config
    store: ArtifactStore
    models_root: Path
    device: str
    videos: Path
    stop_requested: Callable[[], bool] = lambda: False
    notes: dict[str, Any] = field(default_factory=dict)


class Worker(Protocol):
    """A stage with its networks loaded."""

    def compute(self, unit: ReadyUnit) -> Any:
        """The unit's artifact, not yet committed.

        Raises:
            UnitError: The unit's data are at fault.
            InterruptedUnitError: `Context.stop_requested` became true.
        """
        ...


class Repository(Protocol):
    """Where a stage's results are kept."""

    def find(self, unit: ReadyUnit) -> Committed | None:
        """The valid result, if it is there."""
        ...

    def commit(self, unit: ReadyUnit, artifact: Any) -> Committed:
        """Store a result atomically."""
        ...


@runtime_checkable
class LeasedRepository(Protocol):
    """A repository whose units are worth keeping a second job from."""

    def lease_path(self, unit: ReadyUnit) -> Path:
        """Where a job says that it is computing the unit."""
        ...


class Stage(Protocol):
    """A stage of the pipeline."""

    name: ClassVar[str]
    revision: ClassVar[int]

    def repository(self, context: Context) -> Repository:
        """Where results are kept."""
        ...

    def open(self, context: Context) -> Worker:
        """Load what `Worker.compute` needs; called at most once per job."""
        ...


class ArtifactRepository:
    """The usual repository: one zarr artifact per unit."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    def find(self, unit: ReadyUnit) -> Committed | None:
        """The artifact's digest if the store holds a readable one."""
        digest = self._store.digest(unit.stage, unit.key)
        return Committed(unit.key, digest) if digest else None

    def commit(self, unit: ReadyUnit, artifact: Any) -> Committed:
        """Write the artifact."""
        digest = self._store.write(unit.stage, unit.key, artifact, unit.attributes())
        return Committed(unit.key, digest)

    def lease_path(self, unit: ReadyUnit) -> Path:
        """Beside the artifact, hence shared by all runs that share the store."""
        return self._store.lease_path(unit.stage, unit.key)
