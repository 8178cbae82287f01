"""What a job is given (shard file) and what it says afterwards (ledger).

Both are JSON with sorted keys. A ledger is a pure function of its units' outcomes, without times
or host names, so that an unchanged re-run leaves everything downstream untouched. The format is
specified in docs/data-format.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from dispose_stages.atomic import canonical_json, readable_json
from dispose_stages.batch.plan import Unit
from dispose_stages.errors import Reason, StoreError

LEDGER_FORMAT = "dispose-ledger"
SHARD_FORMAT = "dispose-shard"
VERSION = 1


class Status(StrEnum):
    """How a unit stands."""

    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Entry:
    """The outcome of one unit.

    Attributes:
        status: How it stands.
        key: Identity of its artifact; empty where it is not known.
        digest: Digest of the artifact's content; empty unless done.
        reason: Typed reason unless done.
        message: One line for people.
        origin: ``stage/unit`` where the failure that blocks this unit happened.
        facts: Small plain results that later stages read without opening the artifact.
    """

    status: Status
    key: str = ""
    digest: str = ""
    reason: Reason | None = None
    message: str = ""
    origin: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Outcomes of all units of one shard, by unit id."""

    stage: str
    shard: str
    units: Mapping[str, Entry]

    def to_json(self) -> str:
        """The file's text; equal outcomes give equal bytes."""
        units = {
            unit_id: {name: value for name, value in asdict(entry).items() if value}
            for unit_id, entry in self.units.items()
        }
        return readable_json(
            {
                "format": LEDGER_FORMAT,
                "version": VERSION,
                "stage": self.stage,
                "shard": self.shard,
                "units": units,
            }
        )

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Read a ledger.

        Raises:
            StoreError: It is absent, not a ledger, or of a newer format.
        """
        content = _read(path, LEDGER_FORMAT)
        try:
            units = {unit_id: _entry(entry) for unit_id, entry in content["units"].items()}
            return cls(content["stage"], content["shard"], units)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"{path}: damaged: {error!r}") from None


@dataclass(frozen=True, slots=True)
class Shard:
    """One job's work: units and the upstream shards whose ledgers it reads.

    Attributes:
        stage: Which stage.
        name: Name of the shard.
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
        return (
            canonical_json(
                {
                    "format": SHARD_FORMAT,
                    "version": VERSION,
                    "stage": self.stage,
                    "shard": self.name,
                    "revision": self.revision,
                    "upstream": self.upstream,
                    "units": [asdict(unit) for unit in self.units],
                }
            )
            + "\n"
        )

    @classmethod
    def read(cls, path: Path) -> Shard:
        """Read a shard file.

        Raises:
            StoreError: It is absent, not a shard file, or of a newer format.
        """
        content = _read(path, SHARD_FORMAT)
        try:
            return cls(
                stage=content["stage"],
                name=content["shard"],
                revision=content["revision"],
                units=tuple(_unit(unit) for unit in content["units"]),
                upstream={stage: tuple(names) for stage, names in content["upstream"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"{path}: damaged: {error!r}") from None


def _entry(content: Mapping[str, Any]) -> Entry:
    reason = Reason(content["reason"]) if "reason" in content else None
    return Entry(**{**content, "status": Status(content["status"]), "reason": reason})


def _unit(content: Mapping[str, Any]) -> Unit:
    upstream = {role: (stage, name) for role, (stage, name) in content["upstream"].items()}
    return Unit(**{**content, "upstream": upstream})


def _read(path: Path, expected: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read: {error}") from None
    if not isinstance(content, dict) or content.get("format") != expected:
        raise StoreError(f"{path}: not a {expected} file")
    version = content.get("version")
    if version != VERSION:
        raise StoreError(f"{path}: has format version {version}, this program reads {VERSION}")
    return content


def artifact_key(
    unit: Unit,
    *,
    revision: int,
    weights: str,
    upstream: Mapping[str, str],
) -> str:
    """Identity of a unit's artifact: everything that decides its numbers, and nothing else.

    Upstream artifacts enter by the digest of their content, not by their key: an upstream stage
    that was forced to run again and came to the same numbers leaves everything below untouched.

    Args:
        unit: Paths of its sources do not enter; their content does, through `upstream`.
        revision: Of the stage's code.
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
