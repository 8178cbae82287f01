"""What a job is given (shard file) and what it says afterwards (ledger).

A ledger is a pure function of its units' results, without times or host names, so that an
unchanged re-run leaves everything downstream untouched. Both formats are specified in
docs/data-format.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dispose_stages.atomic import canonical_json
from dispose_stages.batch.planned_text import unit_text
from dispose_stages.batch.unit import Result, Status, Unit
from dispose_stages.errors import Reason, StoreError, WarningCode
from dispose_stages.records import read_record, record_text

_LEDGER = ("dispose-ledger", 2)
_SHARD = ("dispose-shard", 1)
_RESULT_FIELDS = Result.__match_args__


@dataclass(frozen=True, slots=True)
class Ledger:
    """Results of all units of one shard, by unit id."""

    stage: str
    shard: str
    units: Mapping[str, Result]

    def to_json(self) -> str:
        """The file's text; equal results give equal bytes."""
        units = {
            unit_id: {name: value for name in _RESULT_FIELDS if (value := getattr(result, name))}
            for unit_id, result in self.units.items()
        }
        return record_text(*_LEDGER, {"stage": self.stage, "shard": self.shard, "units": units})

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Read a ledger.

        Raises:
            StoreError: It is absent, damaged, or of another version.
        """
        return read_record(path, *_LEDGER, cls._build)

    @classmethod
    def _build(cls, content: dict[str, Any]) -> Ledger:
        units = {unit_id: _result(fields) for unit_id, fields in content["units"].items()}
        return cls(content["stage"], content["shard"], units)


def results_in(paths: Iterable[Path]) -> dict[tuple[str, str], Result]:
    """What ledgers say of units, by (stage, id); the last has the last word, damaged ones none."""
    known: dict[tuple[str, str], Result] = {}
    for path in paths:
        with suppress(StoreError):
            ledger = Ledger.read(path)
            known |= {(ledger.stage, unit): result for unit, result in ledger.units.items()}
    return known


def _result(fields: dict[str, Any]) -> Result:
    reason = Reason(fields["reason"]) if "reason" in fields else None
    warnings = tuple(WarningCode(code) for code in fields.get("warnings", ()))
    typed = {"status": Status(fields["status"]), "reason": reason, "warnings": warnings}
    result = Result(**{**fields, **typed})
    texts = (result.key, result.digest, result.message, result.origin)
    if not all(isinstance(text, str) for text in texts) or not isinstance(result.facts, dict):
        raise TypeError("a result's fields have wrong types")
    return result


@dataclass(frozen=True, slots=True)
class Shard:
    """One job's work: units and the upstream shards whose ledgers it reads.

    Attributes:
        revision: Revision of the stage's code when the plan was made.
        units: In the order they are computed.
        upstream: Stage to names of shards.
    """

    stage: str
    name: str
    revision: int
    units: tuple[Unit, ...]
    upstream: Mapping[str, tuple[str, ...]]

    def to_json(self) -> str:
        """The file's text."""
        form, version = _SHARD
        before = {"format": form, "revision": self.revision, "shard": self.name}
        before["stage"] = self.stage
        after = {"upstream": self.upstream, "version": version}
        params: dict[int, str] = {}  # many units share the object
        units = ",".join([unit_text(unit, params) for unit in self.units])
        return f'{canonical_json(before)[:-1]},"units":[{units}],{canonical_json(after)[1:]}\n'

    @classmethod
    def read(cls, path: Path) -> Shard:
        """Read a shard file.

        Raises:
            StoreError: It is absent, damaged, or of another version.
        """
        return read_record(path, *_SHARD, cls._build, sealed=False)

    @classmethod
    def _build(cls, content: dict[str, Any]) -> Shard:
        return cls(
            stage=content["stage"],
            name=content["shard"],
            revision=content["revision"],
            units=tuple(_unit(fields) for fields in content["units"]),
            upstream={stage: tuple(names) for stage, names in content["upstream"].items()},
        )


def _unit(fields: Mapping[str, Any]) -> Unit:
    upstream = {role: (stage, name) for role, (stage, name) in fields["upstream"].items()}
    return Unit(**{**fields, "upstream": upstream})


def artifact_key(unit: Unit, *, revision: int, weights: str, upstream: Mapping[str, str]) -> str:
    """Identity of a unit's artifact: everything that decides its numbers, and nothing else.

    Upstream artifacts enter by the digest of their content, not by their key: an upstream stage
    that was forced to run again and came to the same numbers leaves everything below untouched.

    Args:
        unit: Paths of its sources do not enter; their content does, through `upstream`.
        weights: Digest over the checkpoint files the stage loads; empty for none.
        upstream: Role to content digest of the artifacts (or source files) it reads.

    Returns:
        40 hexadecimal digits.
    """
    identity = {
        "stage": unit.stage,
        "revision": revision,
        "params": unit.params,
        "weights": weights,
        "upstream": upstream,
        "stamp": unit.stamp,
    }
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:40]
