"""What a user asked of a run beyond its configuration: forced re-runs and re-opened shards.

``plan/control.json`` survives the process that wrote it, so a forced re-run that was killed goes
on with the same command or without the flag, and never starts over.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dispose_stages.atomic import readable_json, write_text_if_changed
from dispose_stages.errors import StoreError

EVERY_UNIT = "*"

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
        try:
            content = json.loads(path.read_text())
            return cls(stamps=content["stamps"], epochs=content["epochs"])
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{path}: cannot be read: {error!r}") from None

    def write(self, path: Path) -> None:
        """Replace the file."""
        write_text_if_changed(path, readable_json({"stamps": self.stamps, "epochs": self.epochs}))

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
