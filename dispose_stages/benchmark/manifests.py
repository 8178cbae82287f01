"""Manifests of benchmarks: every video drives its own first frame, once per variant."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dispose_stages.batch.folders import VIDEO_SUFFIXES
from dispose_stages.errors import ManifestError

VARIANTS: Mapping[str, tuple[bool, bool]] = {
    "full": (True, True),
    "no_motion": (False, True),
    "no_correspondence": (True, False),
    "base": (False, False),
}
"""Name to motion guidance and correspondence guidance."""


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
            "driving_video": _relative(video.absolute(), base),
            "reference_frame": "0",
            "motion_guidance": str(motion).lower(),
            "correspondence_guidance": str(correspondence).lower(),
        }
        for video in videos
        for variant, (motion, correspondence) in VARIANTS.items()
    ]
    return _csv(rows)


def with_variants(manifest: str) -> str:
    """Every row of a manifest, once per variant; its own settings of guidance are replaced."""
    rows = []
    for number, row in enumerate(csv.DictReader(io.StringIO(manifest)), start=1):
        name = row.get("pair_id") or f"row{number:05d}"
        for variant, (motion, correspondence) in VARIANTS.items():
            rows.append(
                {
                    **row,
                    "pair_id": f"{name}_{variant}",
                    "motion_guidance": str(motion).lower(),
                    "correspondence_guidance": str(correspondence).lower(),
                }
            )
    if not rows:
        raise ManifestError("the manifest has no rows")
    return _csv(rows)


def _csv(rows: Sequence[Mapping[str, str]]) -> str:
    output = io.StringIO()
    writer = csv.DictWriter(output, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return output.getvalue()


def _relative(path: Path, base: Path) -> str:
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
