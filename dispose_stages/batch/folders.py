"""Manifests of whole folders: every image with every video, or every video with itself."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from dispose_stages.batch.manifest_columns import REQUIRED_COLUMNS
from dispose_stages.errors import ManifestError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"})


def cross_product(images: Path, videos: Path, relative_to: Path) -> str:
    """A manifest with every image of one folder paired with every video of another.

    Raises:
        ManifestError: A folder is absent or holds no media.
    """
    driving = _media(videos, VIDEO_SUFFIXES, relative_to)
    pairs = [
        [image, video] for image in _media(images, IMAGE_SUFFIXES, relative_to) for video in driving
    ]
    return _csv([list(REQUIRED_COLUMNS), *pairs])


def self_driven(videos: Path, relative_to: Path, *, reference_frame: int = 0) -> str:
    """A manifest in which every video of a folder drives one of its own frames.

    Raises:
        ManifestError: The folder is absent or holds no video.
    """
    rows = [[video, str(reference_frame)] for video in _media(videos, VIDEO_SUFFIXES, relative_to)]
    return _csv([["driving_video", "reference_frame"], *rows])


def _media(folder: Path, suffixes: frozenset[str], relative_to: Path) -> list[str]:
    if not folder.is_dir():
        raise ManifestError(f"no such folder: {folder}")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and p.is_file())
    if not found:
        raise ManifestError(f"{folder} holds no file ending in {', '.join(sorted(suffixes))}")
    base = relative_to.absolute()
    return [_relative(path.absolute(), base) for path in found]


def _csv(rows: list[list[str]]) -> str:
    output = io.StringIO()
    csv.writer(output, lineterminator="\n").writerows(rows)
    return output.getvalue()


def _relative(path: Path, base: Path) -> str:
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
