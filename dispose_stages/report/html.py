"""The report as an HTML page.

The page holds styles, script, counts, distributions and failures; rows and columns come from its
`data` files when they are asked for, so that a hundred thousand pairs open as fast as ten.
Whatever comes from the manifest enters as escaped text or as JSON, never as markup. The page's
policy lets the browser use this one script and this one style, known by their digests, and what
that script loads from beside the page.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from dispose_stages.explanations import REASONS, WARNINGS, Explanation
from dispose_stages.missing import why_missing
from dispose_stages.report.columns import NumberColumn, rounded
from dispose_stages.report.content import PairReport
from dispose_stages.report.data import BLOCK, PageFiles, script_json
from dispose_stages.report.gathering import RunReport
from dispose_stages.report.metrics import MAIN
from dispose_stages.report.panels import Preview, legend
from dispose_stages.wording import duration

_SCRIPTS = ("elements", "data", "query", "player", "card", "pairs", "scores", "variants", "main")
MAX_REJECTS = 200
"""Rejected rows that the page lists; all of them are in ``rejects.csv``."""


def data_uri(data: bytes, media_type: str) -> str:
    """Content as an address."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def policy_hash(text: str) -> str:
    """A script or a style as a content security policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def with_code(text: str) -> Markup:
    """Text in which what stands between backticks is code."""
    parts = re.split(r"`([^`]*)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if odd % 2 else escape(part)
        for odd, part in enumerate(parts)
    )


def _lacking(report: RunReport) -> dict[str, Explanation]:
    """Every reason for which a score of the run has no value, and what it means."""
    counted = [
        *(found.missing for found in report.overview.distributions),
        *report.overview.unscored.values(),
    ]
    reasons = sorted({reason for each in counted for reason in each})
    return {reason: said for reason in reasons if (said := why_missing(reason))}


def preview_data(preview: Preview | None) -> dict[str, Any] | None:
    """A preview for the page's script."""
    if preview is None:
        return None
    return asdict(preview) | {"link": quote(preview.link), "limit": rounded(preview.limit)}


def row_data(
    pair: PairReport,
    common: Mapping[str, str],
    metrics: Sequence[str],
    reference: str | None = None,
    preview: Preview | None = None,
) -> dict[str, Any]:
    """What the script needs to draw a row; absent values are left out.

    Args:
        common: Parameters that all rows share, which are not said again.
        metrics: Names, in the order of the row's scores.
        reference: Link of its picture.
    """
    scores = [pair.scores.get(name) for name in metrics]
    outcome, own = pair.outcome, pair.outcome.pair
    row = {
        "id": own.pair_id,
        "line": own.line,
        "status": str(outcome.status),
        "variant": pair.variant,
        "image": own.reference_image,
        "video": own.driving_video,
        "own": [[k, v] for k, v in pair.parameters.items() if k not in common],
        "extra": [[k, v] for k, v in own.extra.items() if v],
        "times": [[role, duration(value, exact=True)] for role, value in pair.seconds.items()],
        "facts": [[name, rounded(value)] for name, value in pair.facts.items()],
        "scores": [None if v is None else rounded(v) for v in scores] if pair.scores else None,
        "missing": [[name, reason] for name, reason in pair.missing.items()],
        "warnings": list(pair.warnings),
        "reason": outcome.reason,
        "message": outcome.message,
        "stage": pair.failed_in,
        "log": quote(pair.log),
        "reference": quote(reference) if reference else None,
        "preview": preview_data(preview),
        "result": pair.video,
    }
    return {name: value for name, value in row.items() if value}


def _page_data(
    report: RunReport, previews: Mapping[int, Preview], page: PageFiles
) -> dict[str, Any]:
    metrics = [column.name for column in report.overview.table.numbers("score")]
    return {
        "rows": report.overview.table.rows,
        "block": BLOCK,
        "columns": [
            [column.name, column.group, isinstance(column, NumberColumn)]
            for column in report.overview.table
        ],
        "metrics": metrics,
        "main": [name for name in MAIN if name in metrics],
        "links": page.links,
        "inline": page.inline,
        "distributions": [asdict(found) for found in report.overview.distributions],
        "comparisons": [
            {
                "label": label,
                "rows": [[variant, row] for variant, row in rows.items()],
                "preview": preview_data(previews[group]),
            }
            for group, (label, rows) in enumerate(report.comparable)
            if group in previews
        ],
        "wheel": data_uri(legend(), "image/png"),
    }


def render(report: RunReport, previews: Mapping[int, Preview], page: PageFiles) -> str:
    """The page's text; equal reports give equal pages.

    Args:
        previews: Variants side by side, by position of their group in the report.
    """
    folder = files("dispose_stages.report") / "page"

    def read(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {
        "duration": partial(duration, exact=True),
        "with_code": with_code,
        "quote": shlex.quote,
    }
    script = "".join(read(f"{name}.js") for name in _SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}}})();\n'
    style = read("page.css")
    return environment.from_string(read("page.html")).render(
        report=report,
        reasons=REASONS,
        warnings=WARNINGS,
        lacking=_lacking(report),
        rejects=report.rejects[:MAX_REJECTS],
        longest=max((timing.total for timing in report.timings), default=0.0) or 1.0,
        compared=len(previews),
        data=script_json(_page_data(report, previews, page)),
        # These are part of the package, not of any run.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        style_hash=Markup(policy_hash(style)),  # noqa: S704
        script_hash=Markup(policy_hash(script)),  # noqa: S704
    )
