"""Manifests of whole folders: every image with every video, or every video with itself."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Sequence
from pathlib import Path, PurePath

from dispose_stages.batch.manifest_columns import REQUIRED_COLUMNS
from dispose_stages.batch.sweeps import Variant, pair_ids
from dispose_stages.errors import ManifestError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"})


def cross_product(
    images: Path, videos: Path, relative_to: Path, variants: Sequence[Variant] = ({},)
) -> str:
    """A manifest with every image of one folder paired with every video of another.

    Args:
        relative_to: Where the manifest will lie.
        variants: Of the parameters, each for every pair; the rows then have readable ids.

    Raises:
        ManifestError: A folder is absent or holds no media, or two rows would have one name.
    """
    pairs = list(
        itertools.product(
            _media(images, IMAGE_SUFFIXES, relative_to), _media(videos, VIDEO_SUFFIXES, relative_to)
        )
    )
    if not any(variants):
        return _csv([list(REQUIRED_COLUMNS), *map(list, pairs)])
    stems = [(PurePath(image).stem, PurePath(video).stem) for image, video in pairs]
    cells = ([*pair, *variant.values()] for pair in pairs for variant in variants)
    named = [[name, *row] for name, row in zip(pair_ids(stems, variants), cells, strict=True)]
    return _csv([["pair_id", *REQUIRED_COLUMNS, *variants[0]], *named])


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
