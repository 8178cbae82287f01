"""What is known of a shard's units before its job begins: what they read, hence their keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger, Shard, artifact_key
from dispose_stages.batch.run_files import read_stage_weights
from dispose_stages.batch.unit import Result, Status, Unit
from dispose_stages.errors import StoreError


@dataclass(frozen=True, slots=True)
class Settled:
    """Results of other jobs that a shard's job works from.

    Attributes:
        upstream: Results of the upstream stages, by stage and unit id.
        weights: Digest over the stage's checkpoint files.
        released: By unit id, what came of units whose artifacts were freed, as planning noted it.
    """

    upstream: Mapping[str, Mapping[str, Result]]
    weights: str
    released: Mapping[str, Result] = field(default_factory=dict)

    @classmethod
    def read(cls, layout: RunLayout, shard: Shard) -> Settled:
        """Everything that the shard reads.

        Raises:
            StoreError: A ledger or the weights' digests are missing.
        """
        upstream: dict[str, dict[str, Result]] = {}
        for stage, names in shard.upstream.items():
            merged = upstream.setdefault(stage, {})
            for name in names:
                merged.update(Ledger.read(layout.ledger(stage, name)).units)
        weights = read_stage_weights(layout, shard.stage)
        return cls(upstream, weights, _released(layout, shard))

    def blocked(self, unit: Unit, optional: Collection[str] = ()) -> Result | None:
        """The result of a unit whose inputs failed or are not there yet; None if it can begin.

        Args:
            optional: Roles of inputs whose failure does not block it.
        """
        for role, (stage, unit_id) in unit.upstream.items():
            result = self.upstream.get(stage, {}).get(unit_id)
            if result is None or result.status is Status.PENDING:
                return Result(Status.PENDING, message=f"waits for {stage}")
            if result.status is not Status.DONE and role not in optional:
                return Result(
                    Status.BLOCKED,
                    reason=result.reason,
                    message=result.message,
                    origin=result.origin or f"{stage}/{unit_id}",
                )
        return None

    def ready(self, unit: Unit, revision: int) -> Unit:
        """A unit that can begin, with its inputs and its key."""
        inputs = {
            role: self.upstream[stage][unit_id] for role, (stage, unit_id) in unit.upstream.items()
        }
        upstream = {role: result.content for role, result in inputs.items()}
        key = artifact_key(unit, revision=revision, weights=self.weights, upstream=upstream)
        return replace(unit, key=key, inputs=inputs)

    def before(self, unit: Unit) -> Result | None:
        """What came of a unit before its artifact was freed, if it would come to the same."""
        result = self.released.get(unit.id)
        return result if result is not None and result.key == unit.key else None


def _released(layout: RunLayout, shard: Shard) -> Mapping[str, Result]:
    path = layout.released(shard.stage, shard.name)
    try:
        return Ledger.read(path).units if path.exists() else {}
    except StoreError:  # then they are computed
        return {}
