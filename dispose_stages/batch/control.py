"""What a user asked of a run beyond its configuration: forced re-runs and re-opened shards.

``plan/control.json`` survives the process that wrote it, so a forced re-run that was killed goes
on with the same command or without the flag, and never starts over.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dispose_stages.atomic import write_text_if_changed
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Shard
from dispose_stages.config import STAGES
from dispose_stages.errors import StoreError
from dispose_stages.records import read_record, record_text

EVERY_UNIT = "*"
_FORM = ("dispose-control", 2)

Stamps = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Control:
    """Standing requests about a run.

    Attributes:
        stamps: Stage to unit id (or ``*``) to the token of its last forced re-run; tokens enter
            the artifacts' keys, so a new one makes the stage's units stale once.
        epochs: ``stage/shard`` to how often the shard was re-opened without forcing anything:
            an artifact was lost, or failed units are to be tried again.
    """

    stamps: Stamps = field(default_factory=dict)
    epochs: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Control:
        """The requests on file; none if there is no file.

        Raises:
            StoreError: The file is there but cannot be used.
        """
        return read_record(path, *_FORM, cls._build) if path.exists() else cls()

    @classmethod
    def _build(cls, content: dict[str, Any]) -> Control:
        stamps = {
            stage: {str(unit): str(token) for unit, token in tokens.items()}
            for stage, tokens in content["stamps"].items()
        }
        return cls(stamps, {name: int(count) for name, count in content["epochs"].items()})

    def write(self, path: Path) -> None:
        """Replace the file."""
        write_text_if_changed(
            path, record_text(*_FORM, {"stamps": self.stamps, "epochs": self.epochs})
        )

    def with_stamp(self, stage: str, unit_ids: Iterable[str] | None = None) -> Control:
        """Renew the token of a stage's units, or of all of them."""
        token = secrets.token_hex(6)
        stamps = {EVERY_UNIT: token}  # older tokens of single units would hide the new one
        if unit_ids is not None:
            stamps = {**self.stamps.get(stage, {}), **dict.fromkeys(unit_ids, token)}
        return replace(self, stamps={**self.stamps, stage: stamps})

    def reopened(self, shards: Iterable[tuple[str, str]]) -> Control:
        """Count up the epochs of (stage, shard)s."""
        epochs = dict(self.epochs)
        for stage, shard in shards:
            name = f"{stage}/{shard}"
            epochs[name] = epochs.get(name, 0) + 1
        return replace(self, epochs=epochs)

    def epoch(self, stage: str, shard: str) -> int:
        """How often a shard was re-opened."""
        return self.epochs.get(f"{stage}/{shard}", 0)


def standing_requests(layout: RunLayout) -> tuple[Control, tuple[str, ...]]:
    """The requests on file; if it is damaged, as the last plan knew them, and a line on that."""
    try:
        return Control.read(layout.control), ()
    except StoreError as error:
        return _planned(layout), (f"{error}; it is made anew from the last plan",)


def _planned(layout: RunLayout) -> Control:
    stamps: dict[str, dict[str, str]] = {}
    for stage in STAGES:
        for path in layout.existing(layout.shard, stage):
            try:
                units = Shard.read(path).units
            except StoreError:
                continue
            stamps.setdefault(stage, {}).update({u.id: u.stamp for u in units if u.stamp})
    return Control(stamps=stamps)
