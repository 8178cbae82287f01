# ruff: noqa: INP001 - a script beside its data, no package
"""Render the demo media of ``manifests/demo.csv``: procedural figures, free to share.

Run from the repository's root::

    python manifests/make_demo.py

Two reference images and two driving clips, a few hundred kilobytes each. The pictures depend on the
seeds below only; the bytes of the clips also on the ffmpeg build.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2

from dispose_stages.config_encoding import Encoding
from dispose_stages.store.video_writer import VideoWriter
from dispose_stages.training.world.scene import Scene, random_scene

FOLDER = Path(__file__).parent / "media"
HEIGHT, WIDTH = 480, 320
"""The aspect of the small bundle's output, so that nothing is cut off."""


@dataclass(frozen=True)
class Shot:
    """What is rendered: a scene of the world, and when."""

    name: str
    seed: int
    motion: str
    frames: int
    fps: float

    def scene(self) -> Scene:
        """The scene with its figure, background and movement."""
        return random_scene(
            self.seed,
            height=HEIGHT,
            width=WIDTH,
            frames=self.frames,
            fps=self.fps,
            motion=self.motion,
        )


REFERENCES = (
    Shot("reference_blue.png", seed=4003, motion="wave", frames=25, fps=30.0),
    Shot("reference_green.png", seed=4001, motion="wave", frames=25, fps=30.0),
)
"""The first frame of each."""
DRIVERS = (
    Shot("driver_dance.mp4", seed=3001, motion="dance", frames=36, fps=24.0),
    Shot("driver_wave.mp4", seed=3103, motion="wave", frames=37, fps=30.0),
)


def render_reference(shot: Shot, folder: Path) -> None:
    """Write one still image."""
    image = shot.scene().render(0).image
    cv2.imwrite(str(folder / shot.name), image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


def render_driver(shot: Shot, folder: Path) -> None:
    """Write one clip."""
    scene = shot.scene()
    encoding = Encoding(crf=20)
    path = folder / shot.name
    with VideoWriter(path, HEIGHT, WIDTH, shot.fps, encoding, threads=1) as writer:
        for frame in range(shot.frames):
            writer.write(scene.render(frame).image)


def main() -> None:
    """Render everything."""
    FOLDER.mkdir(exist_ok=True)
    for shot in REFERENCES:
        render_reference(shot, FOLDER)
    for shot in DRIVERS:
        render_driver(shot, FOLDER)


if __name__ == "__main__":
    main()
