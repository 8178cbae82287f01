"""Reports and pages made of a few rows."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from dispose_stages.batch.manifest import RowProblem
from dispose_stages.batch.outcomes import PairStatus, RowCounts
from dispose_stages.report.content import Comparison, PairReport, RunReport, Video
from dispose_stages.report.data import PageFiles
from dispose_stages.report.html import render, row_data
from dispose_stages.report.panels import Panel, Preview
from dispose_stages.report.rows import Overview

PREVIEW = Preview(
    "report_files/x.mp4",
    15.0,
    12,
    1,
    (Panel("driver", 0, 180, 320), Panel("result", 180, 180, 320)),
)


def pair(number: int = 0, status: PairStatus = PairStatus.DELIVERED, **other: Any) -> PairReport:
    """A row with everything in it."""
    values: dict[str, Any] = {
        "pair_id": f"pair{number}",
        "line": number + 2,
        "reference_image": "a.png",
        "driving_video": "b.mp4",
        "status": status,
        "variant": "full",
        "parameters": {"seed": str(number), "fps": "15.0"},
        "seconds": {"motion": 2.5, "sample": 60.0},
        "facts": {"driver_score": 0.75},
    }
    if status is PairStatus.DELIVERED:
        values["video"] = Video(f"videos/pair{number}.mp4", 12, 15.0, 96, 64, 2_345_678)
        values["scores"] = {"psnr": 20.0 + number, "seam_flicker": 0.1}
    if status is PairStatus.FAILED:
        values |= {"reason": "person_lost", "message": "nobody is there", "failed_in": "motion"}
    return PairReport(**{**values, **other})


def counted(
    pairs: tuple[PairReport, ...], rejects: list[RowProblem] | None = None, **other: Any
) -> RunReport:
    """A run of some pairs."""
    overview = Overview()
    for row in pairs:
        overview.add(row)
    overview.table.finish()
    values: dict[str, Any] = {
        "run": "spring",
        "folder": "results/spring",
        "version": "1.2.3",
        "bundle": "official",
        "rows": RowCounts.of((row.status for row in pairs), rejects or []),
        "table": overview.table,
        "common": overview.common,
        "failures": overview.by_reason(),
        "distributions": overview.distributions(),
        "unscored": overview.unscored(),
        "rejects": rejects or [],
    }
    return RunReport(**{**values, **other})


def write_page(
    where: Path,
    *pairs: PairReport,
    comparisons: tuple[Comparison, ...] = (),
    reference: str | None = None,
    preview: Preview | None = None,
    **other: Any,
) -> Page:
    """Write the page of a run of some pairs, and read it back."""
    report = counted(pairs, **other)
    (where / "report_files").mkdir(exist_ok=True)
    files = PageFiles(where / "report_files")
    files.add_columns(report.table)
    metrics = [column.name for column in report.table.numbers("score")]
    files.add_rows(row_data(row, report.common, metrics, reference, preview) for row in pairs)
    text = render(report, comparisons, files)
    (where / "report.html").write_text(text, encoding="utf-8")
    files.sweep(set())
    return Page(text, where)


class Page(HTMLParser):
    """Elements, text and data of a page."""

    def __init__(self, text: str, folder: Path) -> None:
        super().__init__()
        self.source = text
        self.folder = folder
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.data = json.loads(self.scripts[0])

    def block(self, key: str) -> Any:
        """A block, from the page or the script beside it, as the page's own script reads it."""
        if key in self.data["inline"]:
            return self.data["inline"][key]
        text = (self.folder / self.data["links"][key]).read_text(encoding="utf-8")
        named, value = json.loads("[" + re.fullmatch(r"disposeBlock\((.*)\);\n", text)[1] + "]")
        assert named == key
        return json.loads(value)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows."""
        count = -(-self.data["rows"] // self.data["block"])
        return [row for number in range(count) for row in self.block(f"rows{number}")]

    def column(self, name: str) -> list[Any]:
        """A column's cells."""
        names = [column[0] for column in self.data["columns"]]
        found = self.block(f"column{names.index(name)}")
        if self.data["columns"][names.index(name)][2]:
            return found
        words, codes = found
        return [words[code] for code in codes]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect."""
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        """Collect."""
        self._inside = ""

    def handle_data(self, data: str) -> None:
        """Collect."""
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data
