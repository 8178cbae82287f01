"""A unit of work, from the row that needs it to what came of it.

A *unit* is the smallest thing a stage computes and commits. Planning makes it (`RowPlan.add`), a
job gives it its key and the results it reads, the stage turns it into an artifact, and what came
of it is a `Result`: the entry of a ledger, and the input of the units below. A stage's ``unit.py``
(``REVISION`` and ``plan(row)``) is found by name; free of torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel

from dispose_stages.atomic import canonical_json
from dispose_stages.batch.manifest import Row
from dispose_stages.config import Config
from dispose_stages.config_section import Section
from dispose_stages.errors import Reason, WarningCode


class Status(StrEnum):
    """How a unit stands."""

    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a unit.

    Attributes:
        status: How it stands.
        key: Identity of its artifact; empty where it is not known.
        digest: Of the artifact's content; empty unless done.
        reason: Typed reason of a failure; of a blocked unit, that of the failure that blocks it.
        message: One line for people.
        origin: ``stage/unit`` where the failure that blocks this unit happened.
        facts: Small plain values that later stages read without opening the artifact.
        warnings: What a user should look at although the unit is done.
    """

    status: Status = Status.DONE
    key: str = ""
    digest: str = ""
    reason: Reason | None = None
    message: str = ""
    origin: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[WarningCode, ...] = ()

    @property
    def content(self) -> str:
        """What enters the keys below: the digest, or why there is none."""
        return self.digest or str(self.reason or "")


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest thing a stage computes.

    Attributes:
        stage: Which stage.
        id: Hash of stage, `params`, `sources` and `upstream`; for ``mux`` the pair's id.
        label: For people: file names or pair id.
        route: 64-bit number that decides the shard.
        params: Plain values the stage reads; nothing else influences its numbers.
        sources: Role to path of the files it reads, as the manifest's row has it.
        upstream: Role to (stage, unit id) of the artifacts it reads.
        stamp: Token of the last forced re-run; empty if there was none.
        key: Identity of its artifact, which only its job knows.
        inputs: Role to what `upstream` came to, which only its job knows.
    """

    stage: str
    id: str
    label: str
    route: int
    params: Mapping[str, Any]
    sources: Mapping[str, str]
    upstream: Mapping[str, tuple[str, str]]
    stamp: str = ""
    key: str = ""
    inputs: Mapping[str, Result] = field(default_factory=dict)

    def source(self, role: str) -> Path:
        """Absolute path of a file it reads."""
        return Path(self.sources[role]).absolute()

    def provenance(self) -> dict[str, Any]:
        """What went into the artifact, for its own metadata."""
        return {
            "unit": self.id,
            "params": dict(self.params),
            "upstream": {
                role: {
                    "stage": self.upstream[role][0],
                    "key": result.key,
                    "digest": result.digest,
                }
                for role, result in self.inputs.items()
            },
        }


class Params(Section):
    """Base of what a stage reads of a row and of the configuration.

    A field without default is part of every unit's identity. A field that came later has the
    default that keeps the old numbers, and at that value enters neither unit id nor key.
    """

    @classmethod
    def of(cls, *sections: BaseModel, **values: Any) -> Self:
        """Take every field from `values`, else the first section that has it, else its default."""
        for name in cls.model_fields.keys() - values.keys():
            given = [s for s in sections if name in type(s).model_fields]
            if given or cls.model_fields[name].is_required():
                values[name] = getattr(given[0], name)
        return cls.model_construct(**values)

    @classmethod
    def read(cls, unit: Unit) -> Self:
        """The parameters of a unit, as `plain` wrote them."""
        return cls.model_validate(unit.params)

    def plain(self) -> dict[str, Any]:
        """Plain values that decide the stage's numbers."""
        return self.model_dump(exclude_defaults=True)


class RowPlan:
    """The units of one row, to which every stage adds its own.

    Args:
        row: Of the manifest.
        config: The run's configuration.
        stamps: Stage to unit id (or ``*``) to the token of its last forced re-run.
        route: Number that decides a unit's shard, from what it should be near to and from what
            tells it from its neighbours there (``""``: nothing).

    Attributes:
        units: Those planned so far, by role.
    """

    def __init__(
        self,
        row: Row,
        config: Config,
        stamps: Mapping[str, Mapping[str, str]],
        route: Callable[[str, str], int],
    ) -> None:
        self.row = row
        self.config = config
        self.units: dict[str, Unit] = {}
        self._stamps = stamps
        self._route = route

    def add(
        self,
        role: str,
        params: Params,
        *,
        label: str,
        near: str | int,
        apart: str = "",
        sources: Mapping[str, str] | None = None,
        reads: Mapping[str, str] | None = None,
        name: str = "",
    ) -> None:
        """Plan a unit of the stage that `role` begins with.

        Args:
            role: Stage, or stage, underscore and what distinguishes it from the row's other units
                of that stage.
            params: What the stage reads of row and configuration.
            label: For people.
            near: Units with the same text come to lie in the same or neighbouring shards; or the
                route itself.
            apart: Tells units with the same `near` from one another.
            sources: Role to path of the files it reads.
            reads: Role to role of the row's unit whose result it reads.
            name: The unit's id where it has a name of its own.
        """
        stage = role.partition("_")[0]
        upstream = {
            of: (self.units[role].stage, self.units[role].id) for of, role in (reads or {}).items()
        }
        plain = params.plain()
        identity = [stage, plain, sources or {}, upstream]
        unit_id = name or hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:20]
        stamps = self._stamps.get(stage, {})
        self.units[role] = Unit(
            stage=stage,
            id=unit_id,
            label=label,
            route=near if isinstance(near, int) else self._route(near, apart),
            params=plain,
            sources=sources or {},
            upstream=upstream,
            stamp=stamps.get(unit_id, stamps.get("*", "")),
        )
