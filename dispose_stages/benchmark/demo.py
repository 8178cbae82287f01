"""The benchmark's demo: procedural clips that nobody trained on, animated in all variants.

Frames of a clip are its truth. Its pictures depend on the seeds below only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dispose_stages.config_encoding import Encoding
from dispose_stages.store.video_writer import VideoWriter
from dispose_stages.training.clips import motion_scene, render_clip
from dispose_stages.training.quality import HELD_OUT

PART = "demo"
"""Of the document."""
MOTIONS = ("dance", "squat", "walk", "wave")
HEIGHT, WIDTH, FRAMES, FPS = 288, 192, 9, 12.0
PARAMETERS: Mapping[str, object] = {"sample_stride": 1, "max_frames": FRAMES}
"""Two tiles of the small bundle, so that there is a seam."""
SHOWN = (
    *("psnr", "ssim", "l1", "flicker_excess", "warping_error", "seam_flicker"),
    *("drift_colour", "drift_sharpness", "pck_010_body", "akd_head_body", "missing_body"),
    "movement_body",
)
"""Metrics in the document; the command prints all of them."""
_SEED = HELD_OUT + 500_000


def render_drivers(folder: Path) -> list[Path]:
    """One clip per motion, rendered where it is not there yet."""
    paths = [folder / f"{motion}.mp4" for motion in MOTIONS]
    for number, (motion, path) in enumerate(zip(MOTIONS, paths, strict=True)):
        if path.exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        scene = motion_scene(
            _SEED + number, motion, frames=FRAMES, height=HEIGHT, width=WIDTH, fps=FPS
        )
        with VideoWriter(path, (HEIGHT, WIDTH), FPS, Encoding(), threads=1) as writer:
            for frame in render_clip(scene)[0]:
                writer.write(frame)
    return paths
