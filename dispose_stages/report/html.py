"""The report as one HTML file that needs nothing else.

Styles, script, pictures and (within a budget) videos are inside the file. Rows are data that the
script turns into elements page by page, so that ten thousand pairs open as fast as ten; whatever
comes from the manifest enters the page as escaped text or as JSON, never as markup. The page's
policy lets the browser run this one script, known by its digest, and no other.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from dispose_stages.report.content import PairReport, Picture, RunReport, Video

MAX_FAILURES = 200
"""Failures listed at the top; all of them are in ``failures.csv`` and among the rows."""


def data_uri(data: bytes, media_type: str) -> str:
    """Content as an address."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def script_hash(script: str) -> str:
    """A script as a content security policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}"


def duration(seconds: float | None) -> str:
    """Seconds for people: ``0.42 s``, ``12.3 s``, ``4 min 05 s``, ``2 h 07 min``."""
    if seconds is None:
        return "\N{EN DASH}"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def script_json(value: Any) -> Markup:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - everything that could be markup was replaced above


def _picture(picture: Picture | None) -> list[Any] | None:
    if picture is None:
        return None
    address = data_uri(picture.data, picture.media_type)
    return [address, picture.width, picture.height, picture.text]


def _video(video: Video | None) -> dict[str, Any] | None:
    if video is None:
        return None
    link = quote(video.link)
    media_type = "video/x-matroska" if video.link.endswith(".mkv") else "video/mp4"
    return {
        "src": data_uri(video.data, media_type) if video.data is not None else link,
        "link": link,
        "text": f"{video.frames} frames · {video.width} x {video.height} · {video.fps:g} fps"
        f" · {_size(video.size_bytes)}",
        "frames": video.frames,
        "ratio": [video.width, video.height],
    }


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(size / 1e3, 0.1):.0f} kB"


def row_data(pair: PairReport, common: dict[str, str]) -> dict[str, Any]:
    """What the script needs to draw a row; absent values are left out."""
    own = [[k, v] for k, v in pair.parameters.items() if k not in common]
    seconds = round(sum(pair.seconds.values()), 3)
    row = {
        "id": pair.pair_id,
        "line": pair.line,
        "status": str(pair.status),
        "image": pair.reference_image,
        "video": pair.driving_video,
        "own": own,
        "extra": [[k, v] for k, v in pair.extra.items() if v],
        "keys": [list(item) for item in pair.keys.items()],
        "seconds": seconds,
        "time": duration(seconds) if pair.seconds else "",
        "times": [[stage, duration(value)] for stage, value in pair.seconds.items()],
        "facts": [list(item) for item in pair.facts.items()],
        "warnings": list(pair.warnings),
        "reason": pair.reason,
        "message": pair.message,
        "stage": pair.failed_in,
        "reference": _picture(pair.reference),
        "driver": _picture(pair.driver),
        "motion": _picture(pair.motion),
        "result": _video(pair.video),
    }
    return {name: value for name, value in row.items() if value}


def render(report: RunReport) -> str:
    """The page's text; equal reports give equal pages."""
    folder = files("dispose_stages.report")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["duration"] = duration
    script = (folder / "page.js").read_text(encoding="utf-8")
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    common = report.common_parameters()
    longest = max((timing.total for timing in report.timings), default=0.0)
    return template.render(
        report=report,
        failures=report.failures()[:MAX_FAILURES],
        reasons=report.reasons(),
        common=common,
        longest=longest or 1.0,
        rows=script_json([row_data(pair, common) for pair in report.pairs]),
        # These two are part of the package, not of any run.
        style=Markup((folder / "page.css").read_text(encoding="utf-8")),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_hash=Markup(script_hash(script)),  # noqa: S704
    )
