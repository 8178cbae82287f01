"""Where scenes begin, on procedural films of many kinds, as files."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from dispose_stages.config_encoding import Encoding
from dispose_stages.store.media import probe_media
from dispose_stages.store.video_writer import VideoWriter
from dispose_stages.training.world.scene import Scene, random_scene

HEIGHT, WIDTH, FPS = 160, 112, 24.0
FRAMES = 48
Film = list[np.ndarray]


@cache
def dance(seed: int, motion: str = "dance", width: int = WIDTH) -> Scene:
    return random_scene(seed, height=HEIGHT, width=width, frames=FRAMES, fps=FPS, motion=motion)


def shots(*scenes: Scene, at: tuple[int, ...] = (), frames: int = FRAMES) -> Film:
    """Scenes one after another, each from a frame on."""
    which = np.searchsorted(at, np.arange(frames), side="right")
    return [scenes[index].render(number).image for number, index in enumerate(which.tolist())]


def faded(film: Film, middle: int) -> Film:
    """Black in the middle, going there and coming back within ten frames each."""
    away = np.abs(np.arange(len(film)) - middle)
    dark = np.clip((away - 2) / 10, 0, 1)
    return [(image * share).astype(np.uint8) for image, share in zip(film, dark, strict=True)]


def flash(film: Film) -> Film:
    """Two frames washed out, as by a photographer."""
    for number, strength in ((20, 0.95), (21, 0.6), (22, 0.2)):
        bright = film[number].astype(np.float64)
        film[number] = (bright + (255 - bright) * strength).astype(np.uint8)
    return film


def passer_by(film: Film) -> Film:
    """Somebody dark crosses near the camera within a quarter of a second."""
    for number in range(20, 26):
        left = (number - 20) * WIDTH // 5 - WIDTH // 2
        film[number][:, max(0, left) : max(0, left + WIDTH)] = (30, 20, 25)
    return film


def pan() -> Film:
    """The camera turns by its picture's width in two seconds."""
    film = shots(dance(5, width=2 * WIDTH))
    lefts = np.linspace(0, WIDTH, FRAMES).astype(int)
    return [image[:, left : left + WIDTH] for image, left in zip(film, lefts, strict=True)]


def hand_held() -> Film:
    """A camera that shakes by a tenth of its picture."""
    film, rng = shots(dance(6, width=2 * WIDTH)), np.random.default_rng(0)
    offsets = rng.integers(0, WIDTH // 10, (FRAMES, 2))
    return [
        np.roll(image, up, axis=0)[:, WIDTH // 2 + left :][:, :WIDTH]
        for image, (up, left) in zip(film, offsets.tolist(), strict=True)
    ]


def same_person() -> Scene:
    """The dancer of scene 1 somewhere else."""
    return Scene(dance(1).actors, dance(2).background)


def leaves() -> Film:
    """A person is gone from the middle on, within five frames."""
    film, empty = shots(dance(7)), dance(7).background
    for number in range(24, FRAMES):
        shift = min(WIDTH, (number - 23) * WIDTH // 5)
        film[number] = np.where(np.arange(WIDTH)[:, None] < shift, empty, film[number])
    return film


KINDS: dict[str, tuple[Callable[[], Film], list[int]]] = {
    "one scene": (lambda: shots(dance(1)), []),
    "nothing moves": (lambda: [dance(1).render(0).image] * FRAMES, []),
    "hands wave": (lambda: shots(dance(3, "wave")), []),
    "another person elsewhere": (lambda: shots(dance(1), dance(2), at=(24,)), [24]),
    "the same person elsewhere": (lambda: shots(dance(1), same_person(), at=(24,)), [24]),
    "three scenes": (lambda: shots(dance(1), dance(2), dance(4), at=(14, 31)), [14, 31]),
    "a second's insert": (lambda: shots(dance(1), dance(2), dance(1), at=(12, 36)), [12, 36]),
    "black between two scenes": (
        lambda: faded(shots(dance(1), dance(2), at=(24,)), 24),
        [29],
    ),
    "black within a scene": (lambda: faded(shots(dance(1)), 24), []),
    "out of black and into it": (lambda: faded(shots(dance(1), frames=30), 0)[:25], []),
    "a flash": (lambda: flash(shots(dance(1))), []),
    "somebody passes": (lambda: passer_by(shots(dance(1))), []),
    "a pan": (pan, []),
    "a shaking camera": (hand_held, []),
    "the person leaves": (leaves, []),
    "very short": (lambda: shots(dance(1), dance(2), at=(3,), frames=5), [3]),
    "one frame": (lambda: shots(dance(1), frames=1), []),
}


@pytest.mark.parametrize("kind", KINDS)
def test_scenes_begin_where_they_were_cut(tmp_path, kind):
    """Cuts are found to the frame; what moves, fades, flashes or comes back is none."""
    make, cuts = KINDS[kind]
    path = tmp_path / "film.mp4"
    with VideoWriter(path, (HEIGHT, WIDTH), FPS, Encoding(preset="ultrafast")) as writer:
        for image in make():
            writer.write(np.ascontiguousarray(image))
    assert list(probe_media(path, kind="video").scene_cuts) == cuts
