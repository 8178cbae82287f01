"""Drivers of many kinds, as files, with figures that the small bundle's pose networks know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from dispose_stages.config_encoding import Encoding
from dispose_stages.store.video_writer import VideoWriter
from dispose_stages.training.world.scene import Scene, random_scene
from tests.store.clips import run_ffmpeg

HEIGHT, WIDTH, FPS = 240, 160, 24.0
FRAMES = 60
Image = np.ndarray


def figure(seed: int, motion: str = "dance") -> Scene:
    return random_scene(seed, height=HEIGHT, width=WIDTH, frames=FRAMES, fps=FPS, motion=motion)


def film(scene: Scene, frames: Iterable[int] = range(FRAMES)) -> list[Image]:
    return [scene.render(frame).image for frame in frames]


def empty(scene: Scene, frames: int) -> list[Image]:
    return [scene.background] * frames


def leaves(scene: Scene) -> list[Image]:
    """The camera turns away from a person, who is gone after two thirds."""
    wide = np.concatenate([scene.background] * 2, axis=1)
    pictures = []
    for number in range(FRAMES + 24):
        wide[:, :WIDTH] = scene.render(min(number, FRAMES - 1)).image
        left = int(np.clip((number - FRAMES) * WIDTH / 8, 0, WIDTH))
        pictures.append(wide[:, left : left + WIDTH].copy())
    return pictures


def from_black(scene: Scene) -> list[Image]:
    fade = np.clip(np.arange(FRAMES) / 12, 0, 1)
    return [
        (image * share).astype(np.uint8) for image, share in zip(film(scene), fade, strict=True)
    ]


def close_up(scene: Scene) -> list[Image]:
    """Legs only."""
    return [image[-HEIGHT // 4 :].repeat(4, axis=0) for image in film(scene)]


KINDS: dict[str, Callable[[], list[Image]]] = {
    "black_first": lambda: from_black(figure(3001)),
    "close_up": lambda: close_up(figure(3001)),
    "dance": lambda: film(figure(3001)),
    "empty": lambda: empty(figure(3001), FRAMES),
    "leaves": lambda: leaves(figure(3001)),
    "still": lambda: film(figure(3001), [0] * FRAMES),
    "short": lambda: film(figure(3001), range(20)),
    "two_scenes": lambda: film(figure(3001)) + film(figure(3103, "wave")),
    "wave": lambda: film(figure(3103, "wave")),
}


def write_drivers(folder: Path) -> None:
    """All kinds, one file that is cut off and one that is no video."""
    folder.mkdir()
    for name, make in KINDS.items():
        path = folder / f"{name}.mp4"
        with VideoWriter(path, (HEIGHT, WIDTH), FPS, Encoding(preset="ultrafast")) as writer:
            for image in make():
                writer.write(np.ascontiguousarray(image))
    whole = folder / "cut_off.mp4"
    run_ffmpeg("-i", folder / "two_scenes.mp4", "-c", "copy", "-movflags", "+faststart", whole)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 4 // 5])
    (folder / "broken.mp4").write_text("no video")
