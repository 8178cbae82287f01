"""The columns of a manifest and its first line, which must name them."""

from __future__ import annotations

import re

from dispose_stages.config import Parameters
from dispose_stages.errors import ManifestError

REQUIRED_COLUMNS = ("reference_image", "driving_video")
PARAMETER_COLUMNS = tuple(Parameters.model_fields)
COLUMNS = (*REQUIRED_COLUMNS, "pair_id", "reference_frame", "truth_video", *PARAMETER_COLUMNS)
MEDIA_COLUMNS = (*REQUIRED_COLUMNS, "truth_video")
"""Those that name files."""


def _near_miss(column: str) -> str | None:
    """The known column that this one is probably a misspelling of."""
    if column in COLUMNS:
        return None
    plain = re.sub(r"[\W_]+", "_", column.casefold())
    slips, known = min((_slips(plain, known), known) for known in COLUMNS)
    return known if slips <= max(1, len(known) // 5) else None


def _slips(typed: str, meant: str) -> int:
    """Letters left out, added, mistaken or swapped with their neighbour."""
    before, last = [0] * (len(meant) + 1), list(range(len(meant) + 1))
    for i, letter in enumerate(typed, 1):
        row = [i]
        for j, other in enumerate(meant, 1):
            slips = min(last[j] + 1, row[-1] + 1, last[j - 1] + (letter != other))
            if i > 1 and j > 1 and (letter, other) == (meant[j - 2], typed[i - 2]):
                slips = min(slips, before[j - 2] + 1)
            row.append(slips)
        before, last = last, row
    return last[-1]


def check_header(header: list[str], name: str) -> None:
    """Refuse a first line that names the wrong columns.

    Raises:
        ManifestError: Columns are missing, without name, there twice or misspelt.
    """
    problems = [
        f"unknown column {column!r}, did you mean {meant!r}?"
        for column in header
        if (meant := _near_miss(column))
    ]
    problems += [f"column {n} has no name" for n, column in enumerate(header, 1) if not column]
    problems += [
        f"column {column!r} is missing"
        for column in REQUIRED_COLUMNS
        if column not in header
        and not (column == "reference_image" and "reference_frame" in header)
    ]
    problems += [
        f"column {c!r} appears twice" for c in sorted({c for c in header if header.count(c) > 1})
    ]
    if problems:
        known = ", ".join(COLUMNS)
        raise ManifestError(f"{name}: " + "; ".join(problems) + f" Known columns: {known}")
