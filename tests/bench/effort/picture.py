"""A plot of cost against error, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 820, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 20, 50
_TO_THE_LEFT = 0.7
"""From this cost on, names stand before their points."""
_DECIBELS = 5.0
"""Between two lines of the grid."""


@dataclass(frozen=True, slots=True)
class Point:
    """A variant.

    Attributes:
        name: Beside the point.
        cost: Share of 25 full steps.
        nearness: Decibels; higher is better.
        named: Whether it is drawn filled.
    """

    name: str
    cost: float
    nearness: float
    named: bool = False


def front(points: Iterable[Point]) -> list[Point]:
    """Those that no other beats in both, by cost."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.nearness)):
        if not found or point.nearness > found[-1].nearness:
            found.append(point)
    return found


def plot(points: Sequence[Point]) -> str:
    """The picture; the line leads along the variants that no other beats."""
    low = _DECIBELS * math.floor(min(p.nearness for p in points) / _DECIBELS)
    high = _DECIBELS * math.ceil(max(p.nearness for p in points) / _DECIBELS)

    def place(cost: float, nearness: float) -> tuple[float, float]:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * cost
        y = _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - nearness) / (high - low)
        return round(x, 1), round(y, 1)

    parts = [_text(_WIDTH / 2, _HEIGHT - 8, "FLOPs, share of 25 full steps", "middle")]
    for tenth in range(0, 11, 2):
        x, bottom = place(tenth / 10, low)
        parts += [_line(x, _TOP, x, bottom), _text(x, bottom + 18, f"{10 * tenth} %", "middle")]
    for level in range(round(low), round(high) + 1, round(_DECIBELS)):
        x, y = place(0, level)
        parts += [_line(x, y, _WIDTH - _RIGHT, y), _text(x - 6, y + 4, f"{level} dB", "end")]
    path = " ".join("{},{}".format(*place(p.cost, p.nearness)) for p in front(points))
    parts.append(f'<polyline points="{path}" fill="none" stroke="#2563eb" stroke-width="1.5"/>')
    for point in points:
        x, y = place(point.cost, point.nearness)
        fill = "#2563eb" if point.named else "#fff"
        parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{fill}" stroke="#2563eb"/>')
        inwards = (x - 7, "end") if point.cost > _TO_THE_LEFT else (x + 7, "start")
        parts.append(_text(inwards[0], y + 4, point.name, inwards[1]))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="#fff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#ddd"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
