"""What the training of the ControlNet does without at times."""

from __future__ import annotations

import torch
from pydantic import Field

from dispose_stages.config_section import Section


class LeftOut(Section):
    """What stage 2 does without, and how often."""

    conditions: float = Field(default=0.1, ge=0, le=1)
    """Share of clips for which the base's conditions are dropped; the ControlNet's own never are
    (as the sampler uses both halves)."""
    guidance: float = Field(default=0.1, ge=0, le=1)
    """Share of batches without motion, and of those without correspondence, so that each serves
    without the other."""
    alone: float = Field(default=0.0, ge=0, le=1)
    """Share of batches without pose images and with one of both only, which so has to say what
    they say and is learned at all."""
    off: float = Field(default=0.0, ge=0, le=1)
    """Share of batches without the ControlNet, so that what is trained of the base beside it stays
    a base."""

    def draw(self, generator: torch.Generator) -> dict[str, bool] | None:
        """What one batch is given, as arguments of `ControlObjective.predict`.

        None stands for no ControlNet.
        """
        motion, points = (torch.rand(2, generator=generator) >= self.guidance).tolist()
        alone, kept, off = torch.rand(3, generator=generator).tolist()
        if off < self.off:
            return None
        if alone < self.alone:
            return {"motion": kept < 0.5, "points": kept >= 0.5, "drawn": False}
        return {"motion": motion, "points": points}
