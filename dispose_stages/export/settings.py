"""What an export is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from dispose_stages.errors import ExportError

DEFAULT_GROUPS = ("reference_digest", "driver_digest")
_SPLIT_NAMES = {1: ("train",), 2: ("train", "test"), 3: ("train", "validation", "test")}
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Layout(StrEnum):
    """How the samples lie."""

    WEBDATASET = "webdataset"
    VIDEOFOLDER = "videofolder"
    PARQUET = "parquet"


class Extra(StrEnum):
    """What a sample holds on demand only."""

    TRAJECTORIES = "trajectories"
    FIELD = "field"
    FRAMES = "frames"


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """Decides, with the index, every byte of an export (but signatures).

    Attributes:
        layout: How the samples lie.
        shares: Split to share of the pairs; empty: the manifest's column ``split``, or one split.
        filter: Expression of `dispose_stages.export.filtering`; empty: all.
        groups: Columns whose values may be in one split only.
        extras: What else a sample holds.
        unlicensed_ok: Licence, consent and source may be absent.
        takedown: Digests of sources that must not appear.
        about: What the user says about the data set, for the card.
        signed: Whether videos carry a C2PA signature.
        samples_per_shard: At most.
        bytes_per_shard: At most, unless one sample is larger.
    """

    layout: Layout
    shares: Mapping[str, float] = field(default_factory=dict)
    filter: str = ""
    groups: tuple[str, ...] = DEFAULT_GROUPS
    extras: tuple[Extra, ...] = ()
    unlicensed_ok: bool = False
    takedown: frozenset[str] = frozenset()
    about: Mapping[str, Any] = field(default_factory=dict)
    signed: bool = False
    samples_per_shard: int = 1000
    bytes_per_shard: int = 1_000_000_000

    def record(self) -> dict[str, Any]:
        """As plain values; digests that must not appear are not repeated."""
        values = asdict(self)
        del values["takedown"]
        return values


def parse_shares(text: str) -> dict[str, float]:
    """``0.8/0.1/0.1`` as split to share.

    Raises:
        ExportError: Not one, two or three positive numbers that add up to 1.
    """
    try:
        shares = [float(part) for part in text.split("/")]
        names = _SPLIT_NAMES[len(shares)]
    except (ValueError, KeyError):
        raise ExportError(
            f"--split {text!r}: expected train/validation/test or train/test, as in 0.8/0.1/0.1"
        ) from None
    if not all(0 < share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        raise ExportError(f"--split {text!r}: shares must be positive and add up to 1")
    return dict(zip(names, shares, strict=True))


def read_takedown(path: Path) -> frozenset[str]:
    """Digests of sources, one a line; text after ``#`` is a remark.

    Raises:
        ExportError: The file cannot be read, or a line is no digest.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"the takedown list {path} cannot be read: {error}") from None
    words = ((number, line.partition("#")[0].strip()) for number, line in enumerate(lines, 1))
    return frozenset(check_digest(word, f"{path}, line {n}") for n, word in words if word)


def check_digest(text: str, where: str) -> str:
    """A SHA-256 in lower case.

    Raises:
        ExportError: It is none.
    """
    digest = text.strip().lower()
    if not _DIGEST.fullmatch(digest):
        raise ExportError(f"{where}: {text!r} is no SHA-256 of 64 hexadecimal digits")
    return digest
