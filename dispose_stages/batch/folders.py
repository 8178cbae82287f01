"""Manifests of whole folders: every image with every video, or videos and parts of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from dispose_stages.batch.manifest_columns import REQUIRED_COLUMNS
from dispose_stages.batch.manifest_text import csv_text
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
        return csv_text([list(REQUIRED_COLUMNS), *map(list, pairs)])
    stems = [(PurePath(image).stem, PurePath(video).stem) for image, video in pairs]
    cells = ([*pair, *variant.values()] for pair in pairs for variant in variants)
    named = [[name, *row] for name, row in zip(pair_ids(stems, variants), cells, strict=True)]
    return csv_text([["pair_id", *REQUIRED_COLUMNS, *variants[0]], *named])


def self_driven(videos: Path, relative_to: Path, *, reference_frame: int = 0) -> str:
    """A manifest in which every video of a folder drives one of its own frames.

    Raises:
        ManifestError: The folder is absent or holds no video.
    """
    rows = [[video, str(reference_frame)] for video in video_files(videos, relative_to)]
    return csv_text([["driving_video", "reference_frame"], *rows])


def video_files(folder: Path, relative_to: Path) -> list[str]:
    """Every video of a folder, as a manifest that lies at `relative_to` names it.

    Raises:
        ManifestError: The folder is absent or holds no video.
    """
    return _media(folder, VIDEO_SUFFIXES, relative_to)


def clip_rows(
    clips: Iterable[tuple[str, int, int]],
    sample_stride: int,
    images: Path | None,
    relative_to: Path,
) -> str:
    """A manifest of parts of videos, which the column of the stride makes what they are.

    Args:
        clips: Video, first frame, and how many frames are read from there on.
        sample_stride: With which they are read.
        images: Folder of references, each for every clip; None: a clip drives its first frame.
        relative_to: Where the manifest will lie.

    Raises:
        ManifestError: The folder is absent or holds no image.
    """
    header = ["driving_video", "sample_stride", "start_frame", "max_frames"]
    rows = [[v, str(sample_stride), str(first), str(count)] for v, first, count in clips]
    if images is None:
        return csv_text([[*header, "reference_frame"], *([*row, row[2]] for row in rows)])
    references = _media(images, IMAGE_SUFFIXES, relative_to)
    pairs = itertools.product(references, rows)
    return csv_text([["reference_image", *header], *([image, *row] for image, row in pairs)])


def _media(folder: Path, suffixes: frozenset[str], relative_to: Path) -> list[str]:
    if not folder.is_dir():
        raise ManifestError(f"no such folder: {folder}")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and p.is_file())
    if not found:
        raise ManifestError(f"{folder} holds no file ending in {', '.join(sorted(suffixes))}")
    base = relative_to.absolute()
    return [relative_path(path.absolute(), base) for path in found]


def relative_path(path: Path, base: Path) -> str:
    """From a folder if it lies below it."""
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
