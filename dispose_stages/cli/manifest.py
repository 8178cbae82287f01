"""``dispose manifest``: check manifests and make them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispose_stages.cli.clips import clips
from dispose_stages.cli.options import FILE, FOLDER, config_option, configured
from dispose_stages.cli.terminal import say

if TYPE_CHECKING:
    from dispose_stages.batch.manifest import Manifest, RowProblem
    from dispose_stages.config import Compute
    from dispose_stages.store.media import MediaProbe

_output_option = click.option(
    "-o",
    "--output",
    required=True,
    type=FILE,
    help="The manifest to write; its paths are relative to its folder where they can be.",
)


@click.group()
def manifest() -> None:
    """Check and make manifests: CSV files with a (reference image, driving video) pair per row."""


@manifest.command()
@click.argument("file", type=FILE)
@config_option
@click.option("--shallow", is_flag=True, help="Do not open media; only see whether they exist.")
def check(*, file: Path, config_file: Path, shallow: bool) -> None:
    """List every bad row of FILE with line, column and reason; run nothing.

    Also decodes every image and video. The configuration gives the parameters that a row does not
    set. Exit status 1 if any row is bad.
    """
    from dispose_stages.batch.manifest import read_manifest

    config = configured(config_file)
    found = read_manifest(file, config.parameters)
    problems = sorted(
        {*found.problems, *(() if shallow else media_problems(found, config.compute))}
    )
    bad_lines = {problem.line for problem in problems}
    good = sum(row.line not in bad_lines for row in found.rows)
    for line in problem_table(problems):
        say(line)
    say(f"{file}: {good} rows can run, {len(bad_lines)} cannot")
    if found.rows and (carried := found.rows[0].extra):
        say(f"carried along, without influence: {', '.join(carried)}")
    sys.exit(1 if problems else 0)


def media_problems(found: Manifest, compute: Compute) -> Iterable[RowProblem]:
    """What decoding the media of all good rows brings up; each file is decoded once."""
    from dispose_stages.batch.manifest import RowProblem
    from dispose_stages.errors import Reason
    from dispose_stages.store.media import reading_problem

    probed = cache(partial(_probed, compute=compute))
    with click.progressbar(found.rows, label="opening media", file=sys.stderr) as rows:
        for row in rows:
            media = [("driving_video", "video", row.driving_video)]
            if row.reference_frame is None:
                media.insert(0, ("reference_image", "image", row.reference_image))
            if row.truth_video:
                media.append(("truth_video", "video", row.truth_video))
            for column, kind, path in media:
                problem = probed(kind, path)
                if column == "driving_video" and not isinstance(problem, str):
                    problem = reading_problem(Path(path), problem, row.parameters)
                    problem = problem and f"{Reason.MEDIA_UNREADABLE}: {problem}"
                if isinstance(problem, str) and problem:
                    yield RowProblem(row.line, column, problem)


def _probed(kind: str, path: str, compute: Compute) -> MediaProbe | str:
    """What is known of a file, or why it cannot be used."""
    from dispose_stages.errors import Reason, UnitError
    from dispose_stages.store.media import probe_media

    try:
        return probe_media(
            Path(path), kind="image" if kind == "image" else "video", compute=compute
        )
    except UnitError as error:
        return f"{error.reason}: {error}"
    except Exception as error:  # noqa: BLE001 - this file's fault, not the next's
        return f"{Reason.INTERNAL}: {type(error).__name__}: {error}"


def problem_table(problems: Iterable[RowProblem]) -> Iterable[str]:
    """Lines of a table; nothing for no problems."""
    rows = [("line", "column", "reason")]
    rows += [(str(p.line), p.column or "-", p.reason) for p in problems]
    if len(rows) == 1:
        return
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for line, column, reason in rows:
        yield f"{line:>{widths[0]}}  {column:<{widths[1]}}  {reason}"


@manifest.command()
@click.argument("images", type=FOLDER)
@click.argument("videos", type=FOLDER)
@_output_option
@click.option("--seeds", help="Every pair with each of these: 0-4, or 0,3,7.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE,VALUE",
    help="Every pair with each value of a parameter. May be repeated: all combinations.",
)
def cross(
    *, images: Path, videos: Path, output: Path, seeds: str | None, settings: tuple[str, ...]
) -> None:
    """Pair every image of the folder IMAGES with every video of the folder VIDEOS.

    With --seeds and --set a sweep: rows are called after their files and parameters, such as
    `anna_waltz_seed3_guidance_max2.5`, and share what they can. `dispose select` takes the best.
    """
    from dispose_stages.atomic import write_text
    from dispose_stages.batch.folders import cross_product
    from dispose_stages.batch.sweeps import parse_sweep

    text = cross_product(images, videos, output.parent, parse_sweep(seeds, settings))
    write_text(output, text)
    say(f"{output}: {text.count(chr(10)) - 1} pairs")


manifest.add_command(clips)


@manifest.command(name="self")
@click.argument("videos", type=FOLDER)
@_output_option
@click.option(
    "--reference-frame",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Which frame of each video is the reference, counted before any stride.",
)
def self_(*, videos: Path, output: Path, reference_frame: int) -> None:
    """Let every video of the folder VIDEOS drive one of its own frames: it is its own truth."""
    from dispose_stages.atomic import write_text
    from dispose_stages.batch.folders import self_driven

    text = self_driven(videos, output.parent, reference_frame=reference_frame)
    write_text(output, text)
    say(f"{output}: {text.count(chr(10)) - 1} pairs")
