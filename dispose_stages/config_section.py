"""What every part of the configuration has in common: strict values, and errors that help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from dispose_stages.wording import did_you_mean


class Section(BaseModel):
    """Base of every part of the configuration: unknown keys are errors, values are constants."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _check_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        return plain_number(value) if {int, float} & {kind, *get_args(kind)} else value


def plain_number(value: Any) -> Any:
    """Let through what people write for a number; Python and YAML take more for one."""
    if isinstance(value, bool):
        raise ValueError(f"a number is wanted, not {str(value).lower()}")  # noqa: TRY004 - for pydantic
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        raise ValueError(f"{value!r} is no number; write plain digits")
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+,\d+", value.strip()):
        raise ValueError(f"{value!r} is no number; write a decimal point instead of the comma")
    return value


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all keys, sections included."""
    for name, info in model.model_fields.items():
        yield prefix + name
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from known_keys(kind, f"{prefix}{name}.")


def describe_validation_error(
    error: ValidationError, model: type[BaseModel]
) -> list[tuple[str, str]]:
    """``(dotted location, message)`` of every problem, in the words of the file's author."""
    problems = []
    for problem in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in problem["loc"])
        what = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            what = f"there is no such key{did_you_mean(where, known_keys(model))}"
        problems.append((where, what))
    return problems
