"""``dispose manifest clips``: rows for the pieces of videos that can drive."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispose_stages.cli.options import FILE, FOLDER, config_option, configured, settings_option
from dispose_stages.cli.terminal import say

if TYPE_CHECKING:
    from dispose_stages.clips.pieces import Piece
    from dispose_stages.config import Config


@click.command()
@click.argument("videos", type=FOLDER)
@click.option(
    "-o",
    "--output",
    required=True,
    type=FILE,
    help="The manifest to write; the contact sheet lies beside it, as NAME.clips.html.",
)
@click.option(
    "--images",
    type=FOLDER,
    help="Pair every clip with every image of this folder; else it drives its own first frame.",
)
@click.option(
    "--min-seconds",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="Shorter pieces are left out.",
)
@click.option(
    "--min-motion",
    type=click.FloatRange(min=0),
    default=0.02,
    show_default=True,
    help="Pieces in which the person moves less are left out; in body sizes.",
)
@config_option
@settings_option
def clips(
    *,
    videos: Path,
    output: Path,
    images: Path | None,
    min_seconds: float,
    min_motion: float,
    config_file: Path,
    settings: tuple[str, ...],
) -> None:
    """Propose a row for every piece of the folder VIDEOS in which exactly one person moves.

    Videos are cut where scenes begin; the pose networks of the configuration look at a frame of
    every half second. What is left out is listed with its reason, and pictured with the rest on the
    contact sheet. Both files are written at the end, whole.
    """
    from dispose_stages.atomic import write_text
    from dispose_stages.batch.folders import clip_rows, video_files
    from dispose_stages.clips.page import contact_page
    from dispose_stages.clips.pieces import Verdict
    from dispose_stages.errors import ManifestError

    config = configured(config_file, settings)
    least = {"min_seconds": min_seconds, "min_motion": min_motion}
    names = video_files(videos, output.parent)
    surveys = _surveys([output.parent / name for name in names], names, config, least)
    found = [
        (name, piece.first, piece.count)
        for name, pieces in surveys.items()
        if not isinstance(pieces, str)
        for piece in pieces
        if piece.verdict is Verdict.CLIP
    ]
    page = output.with_name(f"{output.stem}.clips.html")
    write_text(page, contact_page(surveys, **least))
    for line in _left_out(surveys):
        say(line)
    if not found:
        raise ManifestError(f"no piece of these videos can drive; {page} shows why")
    stride = config.parameters.sample_stride
    write_text(output, clip_rows(found, stride, images, output.parent))
    say(f"{output}: {len(found)} clips of {len(names)} videos; {page} shows them")


def _surveys(
    paths: list[Path], names: list[str], config: Config, least: Mapping[str, float]
) -> dict[str, list[Piece] | str]:
    """What every video holds, or why it cannot be used."""
    from dispose_stages.batch.machine import granted_threads, settle_device
    from dispose_stages.clips.survey import survey_video
    from dispose_stages.errors import UnitError
    from dispose_stages.weights.loading.dwpose import load_pose_networks

    networks = load_pose_networks(
        config,
        config.models.folder,
        device=settle_device(config.compute, "pose"),
        threads=granted_threads(config.compute.threads, os.environ),
    )
    surveys: dict[str, list[Piece] | str] = {}
    stride = config.parameters.sample_stride
    with click.progressbar(
        list(zip(names, paths, strict=True)),
        label="looking through videos",
        file=sys.stderr,
        item_show_func=lambda item: item and item[0],
    ) as bar:
        for name, path in bar:
            try:
                surveys[name] = survey_video(path, networks, config.compute, stride, **least)
            except UnitError as error:
                surveys[name] = f"{error.reason}: {error}"
    return surveys


def _left_out(surveys: dict[str, list[Piece] | str]) -> list[str]:
    """A line per piece or video that is no clip, and how many there are of each reason."""
    lines, reasons = [], Counter[str]()
    for name, found in surveys.items():
        if isinstance(found, str):
            lines.append(f"{name}: {found}")
            reasons[found.partition(":")[0]] += 1
            continue
        for piece in found:
            if piece.verdict != "clip":
                what = f"{piece.seconds:.1f} s" + f", motion {piece.motion:.2f}" * (
                    piece.motion > 0
                )
                lines.append(f"{name}: frames {piece.first}-{piece.last}: {piece.verdict} ({what})")
                reasons[str(piece.verdict)] += 1
    if reasons:
        counts = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
        lines.append(f"left out: {counts}")
    return lines
