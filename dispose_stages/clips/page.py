"""The contact sheet: every piece of every video, and what became of it."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from dispose_stages.clips.pieces import Limits, Verdict
from dispose_stages.clips.survey import Survey, shown_frames


def contact_page(surveys: Mapping[str, Survey | str], limits: Limits) -> str:
    """The page as HTML; it holds its pictures.

    Args:
        surveys: Name of each video to what it holds, or to why it cannot be used.
        limits: What a clip must have.
    """
    verdicts = Counter(
        piece.verdict
        for found in surveys.values()
        if isinstance(found, Survey)
        for piece in found.pieces
    )
    pieces = verdicts.total()
    clips = verdicts.pop(Verdict.CLIP, 0)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(Path(__file__).with_name("page.html").read_text()).render(
        clips=clips,
        pieces=pieces,
        limits=limits,
        left_out=dict(sorted(verdicts.items())),
        videos=[_video(name, found) for name, found in surveys.items()],
    )


def _video(name: str, found: Survey | str) -> dict[str, Any]:
    if isinstance(found, str):
        return {"name": name, "problem": found, "pieces": []}
    frames = sorted(found.pictures)
    pieces = [
        {
            "verdict": str(piece.verdict),
            **{field: getattr(piece, field) for field in ("first", "last", "seconds", "motion")},
            "pictures": [
                (index, base64.b64encode(found.pictures[index]).decode())
                for index in shown_frames(piece, frames)
            ],
        }
        for piece in found.pieces
    ]
    return {"name": name, "problem": "", "pieces": pieces}
