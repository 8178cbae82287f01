"""Small files about a whole run that planning and set-up leave for its jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping

from dispose_stages.atomic import readable_json, write_text
from dispose_stages.batch.layout import RunLayout
from dispose_stages.config import Config, load_config
from dispose_stages.errors import StoreError


def read_run_config(layout: RunLayout) -> Config:
    """The configuration a run was planned with.

    Raises:
        StoreError: There is no such run.
        ConfigError: It was planned by another version of this program.
    """
    try:
        values = json.loads(layout.config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{layout.root} holds no planned run: {error}") from None
    return load_config(values)


def read_stage_weights(layout: RunLayout, stage: str) -> str:
    """Digest over the checkpoint files a stage loads; empty for a stage without any.

    Raises:
        StoreError: The weights have not been fingerprinted.
    """
    if stage == "ingest":
        return ""
    try:
        stages = json.loads(layout.weights.read_text(encoding="utf-8"))["stages"]
        return str(stages.get(stage, ""))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        message = f"{layout.weights} cannot be used (made by `dispose fingerprint`): {error!r}"
        raise StoreError(message) from None


def write_stage_weights(layout: RunLayout, bundle: str, digests: Mapping[str, str]) -> None:
    """Write what `read_stage_weights` reads."""
    content = {"format": "dispose-weights", "version": 1, "bundle": bundle, "stages": digests}
    write_text(layout.weights, readable_json(content))
