"""What a figure wears and how its hair falls; what lies behind it."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8

Color = tuple[int, int, int]
Pattern = Literal["plain", "stripes", "bands", "dots", "jacket", "logo"]
Legs = Literal["trousers", "shorts", "skirt"]
Hair = Literal["bald", "short", "bob", "long", "bun"]

PATTERNS: tuple[Pattern, ...] = ("plain", "stripes", "bands", "dots", "jacket", "logo")
LEGS: tuple[Legs, ...] = ("trousers", "trousers", "shorts", "skirt")
HAIR: tuple[Hair, ...] = ("bald", "short", "short", "bob", "long", "bun")
SKIN: tuple[Color, ...] = (
    (255, 224, 196),
    (241, 194, 155),
    (224, 172, 105),
    (198, 134, 84),
    (141, 85, 46),
    (92, 58, 38),
)


@dataclass(frozen=True, slots=True)
class Limbs:
    """Colours of arms and legs, left and right, from shoulder to hand and from hip to foot."""

    arms: tuple[Color, Color]
    legs: tuple[Color, Color]

    @classmethod
    def random(cls, rng: np.random.Generator) -> Limbs:
        """Four strong colours that have nothing to do with one another."""
        left_arm, right_arm, left_leg, right_leg = (
            hsv(rng.uniform(), rng.uniform(0.5, 1.0), rng.uniform(0.4, 1.0)) for _ in range(4)
        )
        return cls((left_arm, right_arm), (left_leg, right_leg))


@dataclass(frozen=True, slots=True)
class Appearance:
    """Colours (RGB) and cut of a figure's clothes and hair.

    Attributes:
        limbs: Of a motley figure, in place of what sleeves, trousers, shoes and skin would show.
    """

    skin: Color
    hair_color: Color
    hair: Hair
    shirt: Color
    shirt_accent: Color
    pattern: Pattern
    long_sleeves: bool
    legs: Legs
    legs_color: Color
    shoes: Color
    eyes: Color
    lips: Color
    limbs: Limbs | None = None

    @classmethod
    def random(cls, rng: np.random.Generator) -> Appearance:
        """Some outfit; shirt, accent and legs differ in colour."""
        skin = SKIN[rng.integers(len(SKIN))]
        hue = rng.uniform()
        legs_hue = hue + rng.uniform(0.25, 0.75)
        return cls(
            skin=skin,
            hair_color=_hair_color(rng),
            hair=HAIR[rng.integers(len(HAIR))],
            shirt=hsv(hue, rng.uniform(0.25, 0.95), rng.uniform(0.45, 1.0)),
            shirt_accent=hsv(hue + rng.uniform(0.2, 0.8), rng.uniform(0, 0.9), rng.uniform(0.5, 1)),
            pattern=PATTERNS[rng.integers(len(PATTERNS))],
            long_sleeves=bool(rng.uniform() < 0.5),
            legs=LEGS[rng.integers(len(LEGS))],
            legs_color=hsv(legs_hue, rng.uniform(0.1, 0.8), rng.uniform(0.2, 0.8)),
            shoes=hsv(rng.uniform(), rng.uniform(0, 0.7), rng.uniform(0.1, 0.95)),
            eyes=hsv(rng.uniform(0.05, 0.65), 0.6, rng.uniform(0.2, 0.6)),
            lips=blend(skin, (190, 60, 70), rng.uniform(0.3, 0.8)),
        )


def hsv(hue: float, saturation: float, value: float) -> Color:
    """A colour by hue (turns, wrapped), saturation and value in [0, 1]."""
    red, green, blue = colorsys.hsv_to_rgb(float(hue) % 1.0, float(saturation), float(value))
    return int(255 * red), int(255 * green), int(255 * blue)


def blend(first: Color, second: Color, share: float) -> Color:
    """Mix two colours; `share` of the second."""
    mixed = [round((1 - share) * a + share * b) for a, b in zip(first, second, strict=True)]
    return mixed[0], mixed[1], mixed[2]


def shade(color: Color, factor: float) -> Color:
    """Darker (factor < 1) or lighter, clipped."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in color)
    return red, green, blue


def _hair_color(rng: np.random.Generator) -> Color:
    natural = (hsv(0.07, 0.6, rng.uniform(0.08, 0.5)), hsv(0.12, 0.55, rng.uniform(0.6, 0.95)))
    odd = (hsv(0.0, 0.0, rng.uniform(0.4, 0.9)), hsv(rng.uniform(), 0.7, 0.8))
    return (*natural, *natural, *odd)[rng.integers(6)]


def random_background(
    height: int, width: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """A wall and a floor, with furniture-like shapes, slightly out of focus."""
    hue = rng.uniform()
    top, low, floor = (
        np.array(hsv(hue + rng.normal(0, 0.12), rng.uniform(0, 0.45), rng.uniform(0.25, 0.95)))
        for _ in range(3)
    )
    ramp = np.linspace(0, 1, height)[:, None, None]
    image = np.broadcast_to((1 - ramp) * top + ramp * low, (height, width, 3)).astype(np.uint8)
    image = np.ascontiguousarray(image)
    horizon = int(height * rng.uniform(0.55, 0.9))
    _draw_wall(image[:horizon], rng)
    depth = np.linspace(0.75, 1.1, height - horizon)[:, None, None]
    image[horizon:] = np.clip(floor * depth, 0, 255)
    coarse = rng.normal(0, rng.uniform(1, 8), (height // 2 + 1, width // 2 + 1, 1))
    grain = cv2.resize(coarse, (width, height))[:, :, None]
    noisy = np.clip(image + grain, 0, 255).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(noisy, (0, 0), rng.uniform(0.4, 1.6)), dtype=np.uint8)


def _draw_wall(wall: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator) -> None:
    height, width = wall.shape[:2]
    kind = rng.integers(4)
    line = tuple(int(c) for c in np.clip(wall.mean(axis=(0, 1)) * rng.uniform(0.7, 1.25), 0, 255))
    pitch = int(rng.integers(10, 40))
    if kind == 1:
        for x in range(0, width, pitch):
            wall[:, x : x + pitch // 2] = line
    elif kind == 2:
        for y in range(0, height, pitch):
            cv2.line(wall, (0, y), (width, y), line, 1)
            for x in range((y // pitch % 2) * pitch, width, 2 * pitch):
                cv2.line(wall, (x, y), (x, y + pitch), line, 1)
    for _ in range(int(rng.integers(0, 7))):
        color = hsv(rng.uniform(), rng.uniform(0, 0.6), rng.uniform(0.2, 0.95))
        center = rng.uniform(0, 1, 2) * (width, height)
        size = rng.uniform(0.05, 0.3, 2) * (width, height)
        if rng.uniform() < 0.5:
            low, high = (center - size / 2).astype(int), (center + size / 2).astype(int)
            cv2.rectangle(wall, low.tolist(), high.tolist(), color, -1)
        else:
            axes = (size / 2).astype(int).tolist()
            cv2.ellipse(
                wall, center.astype(int).tolist(), axes, rng.uniform(0, 180), 0, 360, color, -1
            )
