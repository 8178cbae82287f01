# ruff: noqa: INP001 - a script beside its data, no package
"""Put references, drivers and results of a finished run side by side into an animated GIF.

Run from the repository's root, after ``make demo``::

    python manifests/make_preview.py results/demo docs/demo.gif
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pandas as pd
from jaxtyping import UInt8
from PIL import Image

from dispose_stages.batch.layout import RunLayout
from dispose_stages.geometry.frames import cover_resize, sampled_frames
from dispose_stages.store.media import read_image
from dispose_stages.store.video import VideoReader

GAP = 6
"""White pixels between pictures."""

Frame = UInt8[np.ndarray, "h w 3"]


def triptych(record: pd.Series, run: Path, height: int, width: int) -> list[Frame]:
    """Reference, driver and result of one delivered pair, for every frame of the result."""
    reference = cover_resize(read_image(Path(record.reference_image)), height, width)
    with VideoReader(Path(record.driving_video)) as reader:
        indices = sampled_frames(
            reader.frame_count, reader.fps, int(record.parameter_sample_stride)
        )
        drivers = [cover_resize(frame, height, width) for _, frame in reader.frames(indices)]
    with VideoReader(run / str(record.output)) as reader:
        results = [frame for _, frame in reader.frames(range(reader.frame_count))]
    # The first frame of the result is the reference's own; the original drops it from the video.
    return [
        np.pad(
            np.concatenate([reference, driver, result], axis=1),
            ((GAP, GAP), (GAP, GAP), (0, 0)),
            constant_values=255,
        )
        for driver, result in zip(drivers, results, strict=False)
    ]


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--pairs", default=3, show_default=True, help="How many pairs, side by side.")
@click.option("--scale", default=1.0, show_default=True, help="Enlargement.")
def main(run: Path, output: Path, pairs: int, scale: float) -> None:
    """Write OUTPUT from the first delivered pairs of RUN."""
    table = pd.read_parquet(RunLayout(run).index)
    delivered = table[table["status"] == "delivered"].head(pairs)
    if delivered.empty:
        raise click.ClickException(f"{run} has delivered nothing")
    columns, fps = [], 12.0
    for record in delivered.itertuples(index=False):
        with VideoReader(run / str(record.output)) as reader:
            first = next(iter(reader.frames([0])))[1]
            fps = reader.fps
        columns.append(triptych(record, run, *first.shape[:2]))
    count = min(len(column) for column in columns)
    frames = [np.concatenate([column[i] for column in columns], axis=1) for i in range(count)]
    size = (round(frames[0].shape[1] * scale), round(frames[0].shape[0] * scale))
    images = [Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC) for frame in frames]
    # One palette for all frames: a palette per frame flickers.
    palette = Image.fromarray(np.concatenate(frames)).quantize(256)
    shown = [image.quantize(palette=palette) for image in images]
    output.parent.mkdir(parents=True, exist_ok=True)
    shown[0].save(
        output, save_all=True, append_images=shown[1:], duration=round(1000 / fps), loop=0
    )
    click.echo(f"{output}: {output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
