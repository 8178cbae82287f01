"""The manifest: a CSV of (reference image, driving video) pairs with per-row parameters.

Every bad row is found in one go, with its line, column and reason, and set aside; the others run.
Columns: manifests/README.md; all others are carried along and decide nothing. Imports neither torch
nor any media library.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from dispose_stages.atomic import canonical_json
from dispose_stages.batch.manifest_columns import (
    COLUMNS,
    MEDIA_COLUMNS,
    PARAMETER_COLUMNS,
    REQUIRED_COLUMNS,
    check_header,
)
from dispose_stages.batch.manifest_text import as_stored, csv_text, read_table
from dispose_stages.config import Parameters
from dispose_stages.config_section import describe_validation_error
from dispose_stages.errors import ManifestError
from dispose_stages.wording import one_line

REJECT_COLUMNS = ("line", "pair_id", "column", "file", "reason")
_IMAGE = "reference_image"
_IDENTITY = frozenset(COLUMNS) - {"truth_video"}
"""Of a row; what it is compared with does not change its video."""

_NOTHING: Mapping[str, str] = {}

# The id becomes a file name, so it can hold neither separators nor a leading dot or dash.
_PAIR_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ABSENT = "no such file"
_MOST_DIGITS = 18
"""Of a frame's number, which tables hold in 64 bits."""
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Row:
    """One pair to animate.

    Attributes:
        line: Line of the file the row ends on; the header is line 1.
        pair_id: Unique name, safe as a file name.
        reference_image: Path; from the working directory if it lies below it, so that both may
            move together.
        parameters: Defaults of the configuration with the row's overrides.
        reference_frame: Which frame of the driver is the reference, counted before the stride;
            None where it is an image of its own. `reference_image` is then the driver.
        truth_video: Absolute path of the true video where there is one; decides nothing but scores.
        units: Role to id of the units it needs, once it is planned.
        extra: Cells of all other columns, for users of the videos; part of no id and no key.
        held: Whether a pilot of other rows holds it back.
    """

    line: int
    pair_id: str
    reference_image: str
    driving_video: str
    parameters: Parameters
    extra: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    units: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    reference_frame: int | None = None
    truth_video: str = ""
    held: bool = False

    @property
    def clip(self) -> str:
        """What rows that differ in parameters only have in common."""
        return f"{self.reference_image}\0{self.driving_video}"

    @property
    def label(self) -> str:
        """The clip for people."""
        return f"{self.image_name} + {self.video_name}"

    @property
    def image_name(self) -> str:
        """Of the reference, without its folder."""
        return self.reference_image.rsplit("/", 1)[-1]

    @property
    def video_name(self) -> str:
        """Of the driver, without its folder."""
        return self.driving_video.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True, order=True)
class RowProblem:
    """Why a row cannot run.

    Attributes:
        column: That the reason is about; empty for the row as a whole.
        reason: One line for people.
        pair_id: The row's name, as far as it has one.
        file: Absolute path, where the column names a file.
    """

    line: int
    column: str
    reason: str
    pair_id: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Good rows in file order, and all problems of the others."""

    rows: tuple[Row, ...]
    problems: tuple[RowProblem, ...]


class _MediaCheck:
    """Stat every distinct path once, however many rows name it."""

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}

    def __call__(self, path: str) -> str | None:
        """What is wrong with the file, or None."""
        if path not in self._known:
            self._known[path] = self._look(path)
        return self._known[path]

    @staticmethod
    def _look(path: str) -> str | None:
        try:
            status = Path(path).stat()
        except FileNotFoundError:
            return f"{_ABSENT}: {path}"
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
            return f"cannot be opened: {error}"
        if not stat.S_ISREG(status.st_mode):
            return f"not a file: {path}"
        return None if status.st_size else f"file is empty: {path}"


def _derived_id(row: Mapping[str, str]) -> str:
    """A readable id that depends on the row's own content only, not on its place in the file."""
    paths = (row.get(column) or row["driving_video"] for column in REQUIRED_COLUMNS)
    words = "_".join(map(_stem, paths))
    content = canonical_json({name: row[name] for name in row.keys() & _IDENTITY if row[name]})
    return f"{words}_{hashlib.sha256(content.encode()).hexdigest()[:8]}"


@lru_cache(1024)
def _stem(path: str) -> str:
    """A file's name as far as it can be part of another."""
    return _NOT_IN_ID.sub("-", Path(path).stem).strip("-._")[:48] or "x"


class _RowReader:
    """Turns cells into rows and collects what is wrong with them."""

    def __init__(self, header: list[str], folder: Path, defaults: Parameters) -> None:
        self.header = header
        self.extra_columns = [column for column in header if column not in COLUMNS]
        self.parameter_columns = [column for column in PARAMETER_COLUMNS if column in header]
        self.folder = folder
        self.here = Path.cwd()
        self.defaults = defaults
        self.default_values = defaults.model_dump()
        self.media = _MediaCheck()
        self.paths: dict[str, str] = {}
        self.ids: dict[str, tuple[str, int]] = {}
        self.problems: list[RowProblem] = []

    def read(self, line: int, cells: list[str]) -> Row | None:
        if len(cells) > len(self.header):
            self.problems.append(
                RowProblem(line, "", f"{len(cells)} cells, {len(self.header)} columns")
            )
            return None
        values = dict(zip(self.header, cells, strict=False))
        given = values.get("pair_id", "")
        reference = values.get(_IMAGE) or values.get("reference_frame")
        named = bool(reference and values.get("driving_video"))
        pair_id = given or (_derived_id(values) if named else "")
        ids = self._id_problems(line, pair_id, derived=not given) if named else ()
        problems = [
            RowProblem(line, column, reason)
            for column, reason in (*self._media_problems(values), *ids)
        ]
        try:
            parameters = self._parameters(values)
        except ValidationError as error:
            problems += [
                RowProblem(line, where.split(".")[0] or "tile_overlap", what)
                for where, what in describe_validation_error(error, Parameters)
            ]
        if problems:
            self.problems += (self._named(problem, values, pair_id) for problem in problems)
            return None
        video, frame = self._resolve(values["driving_video"]), values.get("reference_frame")
        truth = values.get("truth_video")
        return Row(
            line=line,
            pair_id=pair_id,
            reference_image=video if frame else self._resolve(values[_IMAGE]),
            driving_video=video,
            parameters=parameters,
            extra={c: values.get(c, "") for c in self.extra_columns} or _NOTHING,
            reference_frame=int(frame) if frame else None,
            truth_video=self._resolve(truth) if truth else "",
        )

    def _resolve(self, cell: str) -> str:
        if cell not in self.paths:
            # Not Path.expanduser: that raises where "~name" is no user but a file's name.
            path = as_stored((self.folder / os.path.expanduser(cell)).absolute())  # noqa: PTH111
            here = path.is_relative_to(self.here)
            self.paths[cell] = str(path.relative_to(self.here) if here else path)
        return self.paths[cell]

    def _named(self, problem: RowProblem, values: Mapping[str, str], pair_id: str) -> RowProblem:
        cell = values.get(problem.column) if problem.column in MEDIA_COLUMNS else None
        return replace(problem, pair_id=pair_id, file=self._resolve(cell) if cell else "")

    def _parameters(self, values: Mapping[str, str]) -> Parameters:
        overrides = {c: values[c] for c in self.parameter_columns if values.get(c)}
        if not overrides:
            return self.defaults
        return Parameters.model_validate(self.default_values | overrides)

    def _media_problems(self, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        frame = values.get("reference_frame", "")
        if frame and values.get(_IMAGE):
            yield "reference_frame", "the reference is an image already; leave one of both empty"
        if frame and not (frame.isascii() and frame.isdecimal() and len(frame) <= _MOST_DIGITS):
            yield "reference_frame", f"{frame!r} is no number of a frame, counted from 0"
        for column in MEDIA_COLUMNS:
            cell = values.get(column, "")
            if not cell and (column == "truth_video" or (column == _IMAGE and frame)):
                continue
            if reason := self.media(self._resolve(cell)) if cell else "is empty":
                yield column, reason + self._where(cell, reason)

    def _where(self, cell: str, reason: str) -> str:
        """Where a path begins, for whom it misses."""
        if not reason.startswith(_ABSENT) or Path(os.path.expanduser(cell)).is_absolute():  # noqa: PTH111
            return ""
        elsewhere = Path(cell).is_file() and self.folder != self.here
        hint = f"; there is one in the working directory, {self.here}" if elsewhere else ""
        return f" (paths in a manifest begin at its own folder, {self.folder}{hint})"

    def _id_problems(self, line: int, pair_id: str, *, derived: bool) -> Iterator[tuple[str, str]]:
        if not _PAIR_ID.fullmatch(pair_id):
            allowed = "letters, digits, '.', '_', '-', not first '.' or '-', at most 128"
            yield "pair_id", f"{pair_id!r} cannot be a file name (allowed: {allowed})"
            return
        # Some file systems take `A.mp4` and `a.mp4` for one file.
        first, first_line = self.ids.setdefault(pair_id.casefold(), (pair_id, line))
        if first != pair_id:
            yield "pair_id", f"{pair_id} differs from {first} in line {first_line} by case only"
        elif first_line != line:
            same = "same content as" if derived else "duplicate of"
            yield "pair_id", f"{same} line {first_line} ({pair_id})"


def read_manifest(path: Path, defaults: Parameters) -> Manifest:
    """Read and check a manifest; relative paths are relative to its folder.

    Raises:
        ManifestError: The file as a whole is unusable: absent, no CSV, wrong header.
    """
    lines = read_table(path, COLUMNS)
    first = next(lines, None)
    if first is None:
        raise ManifestError(f"{path} is empty; its first line must name the columns")
    line, header = first
    check_header(header, f"{path}, line {line}")
    reader = _RowReader(header, path.parent.absolute(), defaults)
    rows = [row for line, cells in lines if (row := reader.read(line, cells)) is not None]
    return Manifest(tuple(rows), tuple(sorted(reader.problems)))


def rejects_csv(problems: Iterable[RowProblem]) -> str:
    """The text of ``rejects.csv``."""
    cells = ([one_line(str(getattr(p, column))) for column in REJECT_COLUMNS] for p in problems)
    return csv_text([REJECT_COLUMNS, *cells])
