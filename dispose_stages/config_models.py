"""The part of the configuration that is about checkpoints, and what each bundle is made for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dispose_stages.config_section import Section
from dispose_stages.shipped import here_or_shipped

Bundle = Literal["tiny", "small", "official"]
BUNDLE_DEFAULTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "tiny": {
        "parameters": {
            "resolution": 128,
            "tile_size": 8,
            "tile_overlap": 2,
            "num_inference_steps": 4,
        },
        "sampling": {"precision": "fp32"},
    },
    "small": {
        "parameters": {
            "resolution": 128,
            "tile_size": 6,
            "tile_overlap": 2,
            "num_inference_steps": 8,
        },
        "sampling": {"precision": "fp32"},
    },
    "official": {},
}
"""What a bundle's networks are made for, where that is not the published models' default. Stands
below what the user says, so that naming the published models is enough to get their defaults."""
BUNDLE_ROOTS = {"small": "bundles/small"}
"""Where a bundle lies that does not lie in ``models/<name>``."""


class Models(Section):
    """Which checkpoints are used."""

    bundle: Bundle = "small"
    """`official`: the published weights below `root`. `small`: small networks trained on procedural
    figures (docs/quality.md), part of this program; they animate such figures only. `tiny`: random
    weights, made by `dispose weights make-tiny`; for tests, the videos show noise."""
    root: str = "bundles/small"
    """Folder that holds the checkpoints (layout: `dispose weights list`). The small bundle's is
    found in the program where it is not in the working directory."""

    cache: str = ""
    """Folder on a node's own disk, such as `$TMPDIR`, to which checkpoints are copied once and read
    from; empty: they are read where they lie. Best one that outlives a job."""

    @property
    def folder(self) -> Path:
        """`root` as it is to be opened."""
        root = Path(self.root)
        return here_or_shipped(root) if self.root == BUNDLE_ROOTS.get(self.bundle) else root


def expand_bundle(value: Any) -> Any:
    """A bundle's name alone stands for its usual folder."""
    if not isinstance(value, str):
        return value
    return {"bundle": value, "root": BUNDLE_ROOTS.get(value, f"models/{value}")}


def bundle_defaults(values: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """What the networks of the bundle that `values` name are made for, by section."""
    models = values.get("models")
    named = models.get("bundle") if isinstance(models, Mapping) else models
    bundle = named if isinstance(named, str) else Models().bundle
    return BUNDLE_DEFAULTS.get(bundle, {})
