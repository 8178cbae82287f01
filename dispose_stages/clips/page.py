"""The contact sheet: every piece of every video, and what became of it."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from dispose_stages.clips.pieces import Piece, Verdict


def contact_page(
    surveys: Mapping[str, Sequence[Piece] | str], *, min_seconds: float, min_motion: float
) -> str:
    """The page as HTML; it holds its pictures.

    Args:
        surveys: Name of each video to what it holds, or to why it cannot be used.
        min_motion: Of a clip, as in `Piece`.
    """
    verdicts = Counter(
        piece.verdict for found in surveys.values() if not isinstance(found, str) for piece in found
    )
    pieces = verdicts.total()
    clips = verdicts.pop(Verdict.CLIP, 0)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(Path(__file__).with_name("page.html").read_text()).render(
        clips=clips,
        pieces=pieces,
        min_seconds=min_seconds,
        min_motion=min_motion,
        left_out=dict(sorted(verdicts.items())),
        videos=[_video(name, found) for name, found in surveys.items()],
    )


def _video(name: str, found: Sequence[Piece] | str) -> dict[str, Any]:
    if isinstance(found, str):
        return {"name": name, "problem": found, "pieces": []}
    pieces = [
        {
            "verdict": str(piece.verdict),
            **{field: getattr(piece, field) for field in ("first", "last", "seconds", "motion")},
            "pictures": [
                (index, base64.b64encode(picture).decode())
                for index, picture in piece.pictures.items()
            ],
        }
        for piece in found
    ]
    return {"name": name, "problem": "", "pieces": pieces}
