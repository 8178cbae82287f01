"""Sweeps: the rows of a manifest once for every combination of some parameters."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from pydantic import ValidationError

from dispose_stages.config import Parameters
from dispose_stages.config_section import describe_validation_error
from dispose_stages.errors import ManifestError
from dispose_stages.wording import did_you_mean

Variant = Mapping[str, str]
"""Parameter to the cell of its column."""
_SEEDS = re.compile(r"(\d{1,19})(?:-(\d{1,19}))?", re.ASCII)
_LONGEST_RANGE = 10_000
_LONGEST_ID = 128
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._]+")


def parse_seeds(text: str) -> list[str]:
    """``0-4``, ``7``, ``0-2,9`` as single seeds.

    Raises:
        ManifestError: It is something else, a range that falls, or one without end.
    """
    seeds: list[str] = []
    for part in text.split(","):
        match = _SEEDS.fullmatch(part.strip())
        if match is None:
            raise ManifestError(f"--seeds {text!r}: write 0-4, or 0,3,7")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 <= last - first < _LONGEST_RANGE:
            raise ManifestError(f"--seeds {match[0]}: no range of at most {_LONGEST_RANGE} seeds")
        seeds += map(str, range(first, last + 1))
    return list(dict.fromkeys(seeds))


def parse_sweep(seeds: str | None, settings: Sequence[str]) -> list[Variant]:
    """All combinations of ``name=value,value`` and seeds; one empty variant for nothing.

    Raises:
        ManifestError: A name is no parameter, or a value not one of its values.
    """
    axes: dict[str, list[str]] = {"seed": parse_seeds(seeds)} if seeds is not None else {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        values = [word for part in text.split(",") if (word := part.strip())]
        if not equals or not values:
            raise ManifestError(f"--set {setting!r}: expected name=value,value")
        if name not in Parameters.model_fields:
            known = did_you_mean(name, Parameters.model_fields)
            raise ManifestError(f"--set {setting!r}: there is no parameter {name!r}{known}")
        if name in axes:
            raise ManifestError(f"--set {setting!r}: {name} already has values")
        axes[name] = list(dict.fromkeys(values))
    variants = [dict(zip(axes, each, strict=True)) for each in itertools.product(*axes.values())]
    for variant in variants:
        _check(variant)
    return list(variants)


def _check(variant: Variant) -> None:
    try:
        Parameters.model_validate(variant)
    except ValidationError as error:
        told = "; ".join(f"{w}: {what}" for w, what in describe_validation_error(error, Parameters))
        raise ManifestError(f"no row can have {_words(variant)}: {told}") from None


def _words(variant: Variant) -> str:
    return ", ".join(f"{name}={value}" for name, value in variant.items())


def pair_ids(pairs: Sequence[tuple[str, str]], variants: Sequence[Variant]) -> Iterator[str]:
    """Readable names of every variant of every pair of names, in that order.

    Raises:
        ManifestError: Two of them are one, or one is too long for the name of a file.
    """
    taken: dict[str, str] = {}
    for image, video in pairs:
        for variant in variants:
            swept = [f"{name}{value}" for name, value in variant.items()]
            name = "_".join(
                _NOT_IN_ID.sub("-", word).strip("-.") for word in (image, video, *swept)
            )
            if len(name) > _LONGEST_ID:
                raise ManifestError(f"{name}: too long for the name of a file ({_LONGEST_ID})")
            what = f"{image} + {video}"
            if taken.setdefault(name.casefold(), what) != what:
                raise ManifestError(f"{name} would be {taken[name.casefold()]} and {what}: rename")
            yield name
