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
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel

from dispose_stages.atomic import canonical_json
from dispose_stages.batch.manifest import Row
from dispose_stages.batch.planned_text import sources_text, upstream_text
from dispose_stages.config import Config
from dispose_stages.config_section import Section
from dispose_stages.errors import Reason, WarningCode

_REMEMBERED = 4096
"""Parameters and units of late that are not made again for the next row that shares them."""
_NOTHING: Mapping[str, Any] = {}


@cache
def stage_of(role: str) -> str:
    """The stage of one of a pair's units; roles are called `pose`, `pose_image`, `pose_video`."""
    return role.partition("_")[0]


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
    facts: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    warnings: tuple[WarningCode, ...] = ()

    @property
    def content(self) -> str:
        """What enters the keys below: the digest, or why there is none."""
        return self.digest or str(self.reason or "")


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest thing a stage computes.

    Attributes:
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
    inputs: Mapping[str, Result] = field(default_factory=lambda: _NOTHING)

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
        """Take every field from `values`, else the first section that has it, else its default.

        The same sections and values give the same object, as long as it is remembered.
        """
        key = (cls, *map(id, sections), *values.items())
        if key not in _shared:
            if len(_shared) >= _REMEMBERED:
                _shared.clear()
            origins = _origins(cls, tuple(map(type, sections)), frozenset(values))
            found = {name: getattr(sections[number], name) for name, number in origins}
            _shared[key] = (cls.model_construct(**found, **values), sections)
        params: Self = _shared[key][0]
        return params

    @classmethod
    def read(cls, unit: Unit) -> Self:
        """The parameters of a unit, as `plain` wrote them."""
        return cls.model_validate(unit.params)

    # Equal ones are mostly one; to hash all values costs more than it saves.
    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def plain(self) -> Mapping[str, Any]:
        """Plain values that decide the stage's numbers."""
        return _plain(self)

    def text(self) -> str:
        """Canonical text of `plain`."""
        return _text(self)


_shared: dict[tuple[Any, ...], tuple[Any, tuple[BaseModel, ...]]] = {}
"""Parameters by the identity of the sections they were taken from, which are kept with them."""


@cache
def _origins(
    kind: type[Params], sections: tuple[type[BaseModel], ...], given: frozenset[str]
) -> list[tuple[str, int]]:
    """Fields that come from a section, each with the number of the first that has it."""
    origins = []
    for name in kind.model_fields.keys() - given:
        having = [number for number, s in enumerate(sections) if name in s.model_fields]
        if having or kind.model_fields[name].is_required():
            origins.append((name, having[0]))
    return origins


@lru_cache(_REMEMBERED)
def _plain(params: Params) -> Mapping[str, Any]:
    return params.model_dump(exclude_defaults=True)


@lru_cache(_REMEMBERED)
def _text(params: Params) -> str:
    return canonical_json(params.plain())


UnitId = tuple[str, str]
"""Stage and id."""


def _identity(
    stage: str, params: Params, read: Mapping[str, str], above: Mapping[str, UnitId]
) -> str:
    text = f'["{stage}",{params.text()},{sources_text(read)},{upstream_text(above)}]'
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def unit_maker(
    stamps: Mapping[str, Mapping[str, str]], route: Callable[[str, str], int]
) -> Callable[..., tuple[Unit, UnitId]]:
    """What makes the units of a plan; one that many rows share is made once.

    Args:
        stamps: Stage to unit id (or ``*``) to the token of its last forced re-run.
        route: Number that decides a unit's shard, from what it should be near to and from what
            tells it from its neighbours there (``""``: nothing).
    """

    @lru_cache(_REMEMBERED)
    def make(
        stage: str,
        params: Params,
        label: str,
        near: str | int,
        apart: str,
        sources: tuple[tuple[str, str], ...],
        upstream: tuple[tuple[str, UnitId], ...],
        name: str,
    ) -> tuple[Unit, UnitId]:
        read, above = dict(sources) if sources else _NOTHING, dict(upstream)
        tokens = stamps.get(stage, _NOTHING)
        unit_id = name or _identity(stage, params, read, above)
        unit = Unit(
            stage=stage,
            id=unit_id,
            label=label,
            route=near if isinstance(near, int) else route(near, apart),
            params={**params.plain(), "pair_id": name} if name else params.plain(),
            sources=read,
            upstream=above,
            stamp=tokens.get(unit_id, tokens.get("*", "")),
        )
        return unit, (stage, unit_id)

    return make


class RowPlan:
    """The units of one row, to which every stage adds its own.

    Args:
        make_unit: From `unit_maker`.

    Attributes:
        units: Those planned so far, by role.
    """

    def __init__(
        self, row: Row, config: Config, make_unit: Callable[..., tuple[Unit, UnitId]]
    ) -> None:
        self.row = row
        self.config = config
        self.units: dict[str, Unit] = {}
        self._references: dict[str, UnitId] = {}
        self._make_unit = make_unit

    def add(
        self,
        role: str,
        params: Params,
        *,
        label: str,
        near: str | int,
        apart: str = "",
        sources: Mapping[str, str] = _NOTHING,
        reads: Mapping[str, str] = _NOTHING,
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
            name: The pair's id where the unit goes by it; its parameters hold it too.
        """
        self.units[role], self._references[role] = self._make_unit(
            stage_of(role),
            params,
            label,
            near,
            apart,
            tuple(sources.items()),
            tuple([(of, self._references[read]) for of, read in reads.items()]),
            name,
        )
