"""Pictures and clips of procedural figures, small enough for many pairs in a minute."""

from __future__ import annotations

from pathlib import Path

import cv2

from dispose_stages.config_encoding import Encoding
from dispose_stages.store.video_writer import VideoWriter
from dispose_stages.training.world.scene import random_scene

HEIGHT, WIDTH = 256, 144
FRAMES = 5


def write_pairs(folder: Path, images: int, videos: int) -> Path:
    """Render media into a folder; returns the manifest of all their pairs."""
    folder.mkdir(parents=True)
    for i in range(images):
        scene = random_scene(2007 + i, height=HEIGHT, width=WIDTH, frames=2, motion="wave")
        cv2.imwrite(str(folder / f"i{i}.png"), scene.render(0).image[..., ::-1])
    for v in range(videos):
        scene = random_scene(1017 + v, height=HEIGHT, width=WIDTH, frames=FRAMES, motion="dance")
        with VideoWriter(
            folder / f"v{v}.mp4", (HEIGHT, WIDTH), 24.0, Encoding(), threads=1
        ) as writer:
            for frame in range(FRAMES):
                writer.write(scene.render(frame).image)
    lines = ["pair_id,reference_image,driving_video"]
    lines += [f"i{i}_v{v},i{i}.png,v{v}.mp4" for i in range(images) for v in range(videos)]
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return folder / "pairs.csv"
