"""The parts of the configuration that bound a run: which of its rows, and how much it may cost."""

from __future__ import annotations

from pydantic import Field, model_validator

from dispose_stages.config_section import Section


class Pilot(Section):
    """Rows that may run now; the others are held back, in the same run. At most one of three."""

    only: tuple[str, ...] = ()
    """Ids of pairs."""
    first: int | None = Field(default=None, ge=1)
    """The first so many rows that can run."""
    sample: int | None = Field(default=None, ge=1)
    """So many rows drawn at random; more of them include fewer."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of the draw."""

    @property
    def chosen(self) -> bool:
        """Whether rows are held back at all."""
        return bool(self.only) or self.first is not None or self.sample is not None

    @model_validator(mode="after")
    def _check_one(self) -> Pilot:
        if bool(self.only) + (self.first is not None) + (self.sample is not None) > 1:
            raise ValueError("give one of only, first and sample")
        return self


class Limits(Section):
    """What `dispose run` asks about before it begins."""

    confirm_gpu_hours: float | None = Field(default=100.0, ge=0)
    """Asks when what is to be computed is estimated to take more; empty: never."""
