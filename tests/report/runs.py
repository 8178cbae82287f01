"""Reports and pages made of a few rows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dispose_stages.batch.manifest import Row, RowProblem
from dispose_stages.batch.outcomes import Outcome, PairStatus, RowCounts
from dispose_stages.batch.scores import VARIANTS
from dispose_stages.config import Parameters
from dispose_stages.report.content import PairReport
from dispose_stages.report.data import PageFiles
from dispose_stages.report.gathering import RunReport
from dispose_stages.report.html import render, row_data
from dispose_stages.report.panels import Preview
from dispose_stages.report.rows import Overview, video_data

PREVIEW = Preview(
    "report_files/x.mp4",
    15.0,
    12,
    1,
    (("driver", 0, 180, 320), ("result", 180, 180, 320)),
)


def pair(
    number: int = 0,
    status: PairStatus = PairStatus.DELIVERED,
    *,
    row: Mapping[str, Any] = MappingProxyType({}),
    failure: Mapping[str, str] = MappingProxyType({}),
    variant: str = "full",
    **other: Any,
) -> PairReport:
    """A row with everything in it."""
    motion, correspondence = VARIANTS[variant]
    cells: dict[str, Any] = {
        "line": number + 2,
        "pair_id": f"pair{number}",
        "reference_image": "a.png",
        "driving_video": "b.mp4",
        "parameters": Parameters(motion_guidance=motion, correspondence_guidance=correspondence),
    }
    values: dict[str, Any] = {
        "parameters": {"seed": str(number), "fps": "15.0"},
        "seconds": {"motion": 2.5, "sample": 60.0},
        "facts": {"driver_score": 0.75},
    }
    why: dict[str, str] = {}
    if status is PairStatus.DELIVERED:
        facts = {"frames": 12, "fps": 15.0, "width": 96, "height": 64, "size_bytes": 2_345_678}
        values["video"] = video_data(f"videos/pair{number}.mp4", facts)
        values["scores"] = {"psnr": 20.0 + number, "seam_flicker": 0.1}
    if status is PairStatus.FAILED:
        why = {"stage": "motion", "reason": "person_lost", "message": "nobody is there", **failure}
    outcome = Outcome(Row(**{**cells, **row}), status, **why)
    return PairReport(outcome, **{**values, **other})


def counted(
    pairs: tuple[PairReport, ...], rejects: list[RowProblem] | None = None, **other: Any
) -> RunReport:
    """A run of some pairs."""
    values: dict[str, Any] = {
        "run": "spring",
        "folder": "results/spring",
        "version": "1.2.3",
        "bundle": "official",
        "rows": RowCounts.of((row.outcome.status for row in pairs), rejects or []),
        "overview": Overview(pairs),
        "rejects": rejects or [],
    }
    return RunReport(**{**values, **other})


def write_page(
    where: Path,
    *pairs: PairReport,
    compared: Sequence[Preview] = (),
    reference: str | None = None,
    preview: Preview | None = None,
    **other: Any,
) -> Page:
    """Write the page of a run of some pairs, and read it back."""
    report = counted(pairs, **other)
    (where / "report_files").mkdir(exist_ok=True)
    files = PageFiles(where / "report_files")
    files.add_columns(report.overview.table)
    metrics = [column.name for column in report.overview.table.numbers("score")]
    files.add_rows(
        row_data(row, report.overview.common, metrics, reference, preview) for row in pairs
    )
    text = render(report, dict(enumerate(compared)), files)
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
