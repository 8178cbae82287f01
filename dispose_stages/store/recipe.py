"""How a video was made, from its media on: what its sidecar carries so that it can be made again.

Parameters and digests of content only; where the media lie is no part of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dispose_stages.errors import StoreError
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.freed import provenance


@dataclass(frozen=True, slots=True)
class Made:
    """One step of a recipe: a unit and what it came to.

    Attributes:
        stage: Which stage; ``ingest`` for a source.
        key: Of the artifact; of a source the SHA-256 of the file.
        unit: Its id; empty for a source.
        params: What it was computed with.
        upstream: Role to (stage, key) of what it read.
    """

    stage: str
    key: str
    digest: str
    unit: str
    params: Mapping[str, Any]
    upstream: Mapping[str, tuple[str, str]]


def recipe(store: ArtifactStore, upstream: Iterable[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Everything that these artifacts (stage, key, digest) were made from, as plain values.

    Steps stand after those that they read. Where nothing is known of an artifact any more the
    recipe ends, and so does what can be made again.
    """
    steps: dict[tuple[str, str], dict[str, Any]] = {}
    for stage, key, digest in upstream:
        _add(store, steps, stage, key, digest)
    return list(steps.values())


def _add(
    store: ArtifactStore,
    steps: dict[tuple[str, str], dict[str, Any]],
    stage: str,
    key: str,
    digest: str,
) -> None:
    if (stage, key) in steps:
        return
    step: dict[str, Any] = {"stage": stage, "key": key, "digest": digest}
    if stage != "ingest":
        try:
            known = provenance(store, stage, key)
            above = {role: dict(item) for role, item in known["upstream"].items()}
            for item in above.values():
                _add(store, steps, item["stage"], item["key"], item["digest"])
            step |= {
                "unit": known["unit"],
                "params": dict(known["params"]),
                "upstream": {role: [i["stage"], i["key"]] for role, i in above.items()},
            }
        except (StoreError, LookupError, TypeError, AttributeError):
            return
    steps[stage, key] = step


def read_recipe(content: Any) -> list[Made]:
    """The steps as a sidecar has them.

    Raises:
        StoreError: They are no recipe, or not a whole one.
    """
    try:
        steps = [
            Made(
                stage=str(step["stage"]),
                key=str(step["key"]),
                digest=str(step["digest"]),
                unit=str(step.get("unit", "")),
                params=dict(step.get("params", {})),
                upstream={r: (str(s), str(k)) for r, (s, k) in step.get("upstream", {}).items()},
            )
            for step in content
        ]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"the sidecar's recipe cannot be used: {error!r}") from None
    known = {(step.stage, step.key) for step in steps}
    if not steps or any(above not in known for step in steps for above in step.upstream.values()):
        raise StoreError("the sidecar does not say all that the video was made from")
    return steps
