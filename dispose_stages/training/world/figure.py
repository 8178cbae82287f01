"""From projected joints to the painted layers of one figure.

A layer follows one bone: an axis with a half width at either end. Everything painted on a layer
moves with it, which is what makes the optical flow known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from dispose_stages.training.world.appearance import Appearance, Color, Limbs, blend, shade
from dispose_stages.training.world.body import BodyShape
from dispose_stages.training.world.head import draw_hair_behind, draw_head
from dispose_stages.training.world.layer import Layer, capsule, ribbon
from dispose_stages.training.world.projection import ProjectedJoints

SIDES = ("left", "right")


@dataclass(frozen=True, slots=True)
class Figure:
    """Who is drawn."""

    shape: BodyShape
    look: Appearance

    @classmethod
    def random(cls, rng: np.random.Generator) -> Figure:
        """Some person."""
        return cls(BodyShape.random(rng), Appearance.random(rng))

    def motley(self, rng: np.random.Generator) -> Figure:
        """The same person in a suit of which every limb has a colour of its own.

        The colours of such a figure cannot be guessed from its picture as a whole: each has to be
        carried from its limb's place in the reference to its limb's place in the frame.
        """
        look = replace(self.look, legs="trousers", limbs=Limbs.random(rng))
        return replace(self, look=look)


def figure_layers(figure: Figure, joints: ProjectedJoints, frame: int) -> list[Layer]:
    """All layers of a figure in one frame, in a fixed order (not by depth).

    Args:
        joints: Pixel positions of a whole clip.
        frame: Which of its frames.

    Returns:
        The same number of layers, with the same names, for every frame.
    """
    place = _Place(figure, joints, frame)
    layers = [draw_hair_behind(figure.shape, figure.look, joints, frame), _neck(place)]
    for side in (0, 1):
        layers += [_foot(place, side), *_leg(place, side)]
    layers += [_torso(place), _skirt(place)]
    layers.append(draw_head(figure.shape, figure.look, joints, frame))
    for side in (0, 1):
        layers += [*_arm(place, side), _hand(place, side)]
    return layers


class _Place:
    """One frame of a figure's joints, with the sizes and colours it is drawn in."""

    def __init__(self, figure: Figure, joints: ProjectedJoints, frame: int) -> None:
        self.figure, self.joints, self.frame = figure, joints, frame
        self.look = figure.look

    def point(self, keypoint: int) -> np.ndarray:
        return np.asarray(self.joints.keypoints[self.frame, keypoint])

    def depth(self, keypoint: int) -> float:
        return float(self.joints.depths[self.frame, keypoint])

    def thick(self, width: float) -> float:
        """Half width in pixels of a limb that is `width` body heights thick to either side."""
        return width * self.figure.shape.girth * self.joints.scale

    def arm(self, side: int, worn: Color) -> Color:
        """Colour of an arm's parts: that of the limb if it has one, else of what is worn there."""
        return self.look.limbs.arms[side] if self.look.limbs else worn

    def leg(self, side: int, worn: Color) -> Color:
        """The same of a leg."""
        return self.look.limbs.legs[side] if self.look.limbs else worn

    def bone(
        self,
        name: str,
        ends: tuple[int, int],
        widths: tuple[float, float],
        color: Color,
        *,
        bias: float,
    ) -> Layer:
        """A limb between two keypoints."""
        first, last = ends
        radii = (self.thick(widths[0]), self.thick(widths[1]))
        depth = 0.5 * (self.depth(first) + self.depth(last)) + bias
        layer = Layer(name, self.point(first), self.point(last), radii, depth)
        outline = capsule(layer.start, layer.end, radii)
        layer.fill(outline, shade(color, 0.82))
        lit = (0.55 * radii[0], 0.55 * radii[1])
        toward_light = np.array([-0.25, -0.1]) * radii[0]
        layer.fill(capsule(layer.start + toward_light, layer.end + toward_light, lit), color)
        return layer


def _neck(place: _Place) -> Layer:
    joints, frame = place.joints, place.frame
    start, end = (
        joints.neck[frame],
        joints.chin[frame] + 0.3 * (joints.crown[frame] - joints.chin[frame]),
    )
    radii = (place.thick(0.034), place.thick(0.03))
    layer = Layer("neck", start, end, radii, place.joints.trunk_depth[frame] - 0.005)
    layer.fill(capsule(start, end, radii), shade(place.look.skin, 0.78))
    return layer


def _foot(place: _Place, side: int) -> Layer:
    toe, small, heel = (17 + 3 * side + i for i in range(3))
    start, end = place.point(heel), 0.5 * (place.point(toe) + place.point(small))
    start = 0.5 * (start + place.point(15 + side))
    radii = (place.thick(0.026), place.thick(0.027))
    depth = 0.5 * (place.depth(heel) + place.depth(toe)) - 0.06
    layer = Layer(f"{SIDES[side]}_foot", start, end, radii, depth)
    color = place.leg(side, place.look.shoes)
    layer.fill(capsule(start, end, radii), shade(color, 0.8))
    layer.fill(capsule(start, end, (0.6 * radii[0], 0.6 * radii[1])), color)
    return layer


def _leg(place: _Place, side: int) -> list[Layer]:
    look = place.look
    bare = {"trousers": look.legs_color, "shorts": look.skin, "skirt": look.skin}[look.legs]
    upper = look.skin if look.legs == "skirt" else look.legs_color
    upper, bare = place.leg(side, upper), place.leg(side, bare)
    name = SIDES[side]
    thigh = place.bone(f"{name}_thigh", (11 + side, 13 + side), (0.054, 0.04), upper, bias=-0.03)
    shin = place.bone(f"{name}_shin", (13 + side, 15 + side), (0.038, 0.025), bare, bias=-0.04)
    return [shin, thigh]


def _torso_widths(place: _Place, left: int, thickness: float) -> float:
    """Half width of the trunk at shoulders (left = 5) or hips (11) as seen from the camera."""
    across = 0.5 * (place.point(left) - place.point(left + 1))
    flat = float(np.hypot(*across))
    deep = 0.5 * abs(place.depth(left) - place.depth(left + 1)) * place.joints.scale
    total = max(float(np.hypot(flat, deep)), 1e-6)
    side_view = thickness * place.joints.scale * place.figure.shape.girth
    return float(np.hypot(flat + place.thick(0.022), side_view * deep / total))


def _torso(place: _Place) -> Layer:
    joints, frame, look = place.joints, place.frame, place.look
    radii = (_torso_widths(place, 11, 0.06), _torso_widths(place, 5, 0.06))
    layer = Layer(
        "torso", joints.pelvis[frame], joints.neck[frame], radii, joints.trunk_depth[frame]
    )
    v = np.array([-0.16, -0.05, 0.1, 0.4, 0.75, 0.9, 1.0, 1.04])
    factor = np.array([0.85, 1.0, 1.0, 0.9, 0.97, 0.98, 0.75, 0.3])
    layer.fill(ribbon(layer, v, factor), shade(look.shirt, 0.82))
    layer.fill(ribbon(layer, v[1:-1], 0.7 * factor[1:-1], shift=-0.18), look.shirt)
    _shirt_pattern(
        layer, look, float(joints.chest_facing[frame][0]), float(joints.chest_facing[frame][2])
    )
    return layer


def _shirt_pattern(layer: Layer, look: Appearance, slide: float, front: float) -> None:
    """Stripes go all round; dots, jacket front, logo and neckline are on the chest only."""
    accent = look.shirt_accent
    if look.pattern == "bands":
        edge = np.array([0.97, 0.97])
        for low in (0.05, 0.3, 0.55, 0.8):
            layer.fill(ribbon(layer, np.array([low, low + 0.12]), edge), accent)
    elif look.pattern == "stripes":
        span, half = np.array([-0.1, 0.95]), np.array([0.09, 0.09])
        for u in (-0.66, -0.22, 0.22, 0.66):
            layer.fill(ribbon(layer, span, half, shift=u), accent)
    if front < 0.1:
        return
    _chest_pattern(layer, look, slide, front)
    collar = np.array([0.88, 1.04]), np.array([0.03, 0.26]) * front
    layer.fill(ribbon(layer, *collar, shift=0.5 * slide), look.skin)


def _chest_pattern(layer: Layer, look: Appearance, slide: float, front: float) -> None:
    """What narrows (`front`) and slides sideways as the chest turns away."""
    accent = look.shirt_accent
    if look.pattern == "jacket":
        spread = np.array([0.32, 0.28]) * front
        layer.fill(ribbon(layer, np.array([-0.1, 1.0]), spread, shift=0.6 * slide), accent)
    elif look.pattern == "logo":
        v, spread = np.array([0.5, 0.56, 0.7, 0.76]), np.array([0.15, 0.32, 0.32, 0.15]) * front
        layer.fill(ribbon(layer, v, spread, shift=0.6 * slide), accent)
    elif look.pattern == "dots":
        spread = np.array([0.06, 0.13, 0.06])
        for row, middle in enumerate((0.1, 0.35, 0.6, 0.82)):
            v = middle + np.array([-0.045, 0.0, 0.045])
            for u in (-0.6, 0.0, 0.6) if row % 2 else (-0.3, 0.3):
                layer.fill(ribbon(layer, v, spread, shift=u * front + 0.4 * slide), accent)


def _skirt(place: _Place) -> Layer:
    """From the waist to mid thigh; a bare belt for those who wear none."""
    knees = 0.5 * (place.point(13) + place.point(14))
    hips = 0.5 * (place.point(11) + place.point(12))
    worn = place.look.legs == "skirt"
    end = hips + (0.62 if worn else 0.12) * (knees - hips)
    width = _torso_widths(place, 11, 0.065)
    apart = 0.5 * float(np.hypot(*(place.point(13) - place.point(14))))
    radii = (width * 1.02, max(width, apart) * 1.25 if worn else width)
    nearest = 0.5 * max(place.depth(13), place.depth(14))
    depth = max(place.joints.trunk_depth[place.frame], nearest) if worn else -1.0
    layer = Layer("skirt", hips, end, radii, depth + (0.01 if worn else 0.0))
    if worn:
        start = np.array([-0.35, 0.0, 1.0]), np.array([0.8, 0.98, 1.0])
        layer.fill(ribbon(layer, *start), shade(place.look.legs_color, 0.85))
        inner = np.array([0.0, 1.0]), np.array([0.5, 0.55])
        layer.fill(ribbon(layer, *inner, shift=-0.2), place.look.legs_color)
    return layer


def _arm(place: _Place, side: int) -> list[Layer]:
    look, name = place.look, SIDES[side]
    sleeve = place.arm(side, blend(look.shirt, (0, 0, 0), 0.08))
    upper = place.bone(f"{name}_upper_arm", (5 + side, 7 + side), (0.034, 0.027), sleeve, bias=0.03)
    lower_color = place.arm(side, sleeve if look.long_sleeves else look.skin)
    lower = place.bone(
        f"{name}_forearm", (7 + side, 9 + side), (0.026, 0.018), lower_color, bias=0.04
    )
    return [upper, lower]


def _hand(place: _Place, side: int) -> Layer:
    first = 91 + 21 * side
    points: Float[np.ndarray, "21 2"] = place.joints.keypoints[place.frame, first : first + 21]
    radii = (place.thick(0.018), place.thick(0.015))
    depth = place.depth(first + 9) + 0.05
    layer = Layer(f"{SIDES[side]}_hand", points[0], points[9], radii, depth)
    color = place.arm(side, place.look.skin)
    layer.hull(np.concatenate([points[[0, 1, 5, 9, 13, 17]], points[[0]] + 0.5]), color)
    thickness = max(1, round(0.0165 * place.joints.scale))
    for finger in range(5):
        chain = points[
            [0 if finger == 0 else 1 + 4 * finger, *range(1 + 4 * finger, 5 + 4 * finger)]
        ]
        layer.line(chain, shade(color, 0.93 if finger % 2 else 0.85), thickness)
    return layer
