"""Manifests of benchmarks: every video drives its own first frame, once per variant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dispose_stages.batch.folders import VIDEO_SUFFIXES, relative_path
from dispose_stages.batch.manifest_columns import COLUMNS, MEDIA_COLUMNS
from dispose_stages.batch.manifest_text import csv_text, read_table
from dispose_stages.batch.scores import VARIANTS
from dispose_stages.errors import ManifestError


def find_videos(root: Path, names: Iterable[str] | None = None) -> list[Path]:
    """Videos of a folder, or those of given names without ending.

    Raises:
        ManifestError: The folder is absent, empty, or lacks one of the names.
    """
    if not root.is_dir():
        raise ManifestError(f"no such folder: {root}")
    found = {p.stem: p for p in sorted(root.iterdir()) if p.suffix.lower() in VIDEO_SUFFIXES}
    if names is None:
        if not found:
            raise ManifestError(f"{root} holds no video")
        return list(found.values())
    missing = [name for name in names if name not in found]
    if missing:
        listed = ", ".join(missing)
        raise ManifestError(f"{root} lacks {listed}: a video of that name with any known ending")
    return [found[name] for name in names]


def self_driven_variants(videos: Sequence[Path], relative_to: Path) -> str:
    """Rows of every video and variant."""
    base = relative_to.absolute()
    rows = [
        {
            "pair_id": f"{video.stem}_{variant}",
            "driving_video": relative_path(video.absolute(), base),
            "reference_frame": "0",
            "motion_guidance": str(motion).lower(),
            "correspondence_guidance": str(correspondence).lower(),
        }
        for video in videos
        for variant, (motion, correspondence) in VARIANTS.items()
    ]
    return _csv(rows)


def with_variants(manifest: Path) -> str:
    """Every row of a manifest, once per variant; its own settings of guidance are replaced.

    Paths become absolute, because the copy lies elsewhere.

    Raises:
        ManifestError: It cannot be read or has no rows.
    """
    lines = read_table(manifest, COLUMNS)
    header = next(lines, (0, []))[1]
    rows = []
    for line, cells in lines:
        row = dict(zip(header, cells, strict=False))
        for column in MEDIA_COLUMNS:
            if row.get(column):
                row[column] = str((manifest.parent / row[column]).absolute())
        name = row.get("pair_id") or f"line{line:05d}"
        for variant, (motion, correspondence) in VARIANTS.items():
            guidance = {
                "motion_guidance": str(motion).lower(),
                "correspondence_guidance": str(correspondence).lower(),
            }
            rows.append({**row, "pair_id": f"{name}_{variant}", **guidance})
    if not rows:
        raise ManifestError(f"{manifest} has no rows")
    return _csv(rows)


def _csv(rows: Sequence[Mapping[str, str]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return csv_text([columns, *([row.get(column, "") for column in columns] for row in rows)])
