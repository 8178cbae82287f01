"""The parts of the configuration that bound a run: its rows, its cost, and what of it is kept."""

from __future__ import annotations

from typing import Any, Literal

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


StoredStage = Literal["pose", "motion", "correspondence", "sample", "score"]


class Store(Section):
    """Where artifacts lie, and which of them must."""

    path: str = "store"
    """Folder of the artifacts; may be shared by runs and users."""
    keep: Literal["all", "videos"] | tuple[StoredStage, ...] = "all"
    """Artifacts that are made again when they are gone: `all`; `videos`: none but scores; or those
    of these stages. The others may be freed (`dispose gc --intermediates`) once nothing that is to
    be computed reads them."""
    max_bytes: int | None = Field(default=None, ge=1)
    """`dispose run` warns when the store comes near this size, or will outgrow it."""

    def keeps(self, stage: str) -> bool:
        """Whether artifacts of a stage that are gone are made again in any case."""
        if isinstance(self.keep, tuple):
            return stage in self.keep
        return self.keep == "all" or stage == "score"

    def __fspath__(self) -> str:
        """The folder, where a path is wanted."""
        return self.path


def expand_store(value: Any) -> Any:
    """The short form: a path stands for a store that keeps all."""
    return {"path": value} if isinstance(value, str) else value
