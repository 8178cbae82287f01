"""Smooth random joint trajectories: walk, wave, dance, squat and turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from dispose_stages.training.world.body import BodyPose

Times = Float[np.ndarray, "t"]


def wander(times: Times, rng: np.random.Generator, *, extent: float, hertz: float = 0.6) -> Times:
    """A smooth random curve: three slow sine waves, about within plus or minus `extent`."""
    curve = np.zeros(len(times))
    for weight in (0.55, 0.3, 0.15):
        frequency = hertz * rng.uniform(0.4, 1.2) / weight**0.5 * 0.75
        curve += weight * np.sin(2 * np.pi * (frequency * times + rng.uniform()))
    return extent * curve


def beat(times: Times, hertz: float, phase: float = 0.0) -> Times:
    """A sine wave; phase in turns."""
    return np.sin(2 * np.pi * (hertz * times + phase))


def _idle(times: Times, rng: np.random.Generator, *, yaw: float = 0.3) -> BodyPose:
    """Standing with the small movements that nobody is without."""
    pose = BodyPose.standing(len(times))
    small = {
        "pitch": 0.04,
        "roll": 0.05,
        "shift": 0.015,
        "head_yaw": 0.3,
        "head_pitch": 0.12,
        "head_roll": 0.12,
    }
    moved = {name: wander(times, rng, extent=extent) for name, extent in small.items()}
    moved["yaw"] = rng.uniform(-yaw, yaw) + wander(times, rng, extent=0.1)
    moved["mouth_open"] = np.clip(wander(times, rng, extent=1.2, hertz=1.5) - 0.3, 0, 1)
    for name, extent in (("arm_abduction", 0.12), ("arm_flexion", 0.12), ("elbow", 0.2)):
        base = getattr(pose, name) + rng.uniform(0, extent, size=2)
        sway = [wander(times, rng, extent=0.5 * extent) for _ in range(2)]
        moved[name] = base + np.stack(sway, axis=1)
    spread = rng.uniform(0, 0.14, size=2)
    moved["finger_spread"] = np.tile(spread, (len(times), 1))
    moved["leg_abduction"] = pose.leg_abduction + rng.uniform(0, 0.12, size=2)
    return replace(pose, **moved)


def _wave(times: Times, rng: np.random.Generator) -> BodyPose:
    pose = _idle(times, rng)
    hertz, phase = rng.uniform(0.8, 1.8), rng.uniform()
    for side in rng.permutation(2)[: 1 + int(rng.uniform() < 0.3)]:
        swing = beat(times, hertz, phase + 0.5 * rng.uniform())
        pose.arm_abduction[:, side] = rng.uniform(1.2, 2.2) + 0.12 * swing
        pose.arm_flexion[:, side] = rng.uniform(-0.1, 0.2)
        pose.arm_twist[:, side] = np.pi / 2 + 0.2 * wander(times, rng, extent=1.0)
        pose.elbow[:, side] = rng.uniform(0.5, 1.2) + rng.uniform(0.25, 0.5) * swing
        pose.finger_curl[:, side] = 0.05
        pose.finger_spread[:, side] = rng.uniform(0.08, 0.2)
    return pose


def _walk(times: Times, rng: np.random.Generator) -> BodyPose:
    pose = _idle(times, rng)
    hertz, phase = rng.uniform(0.7, 1.2), rng.uniform()
    stride = rng.uniform(0.35, 0.6)
    heading = rng.uniform(-1.4, 1.4)
    for side in (0, 1):
        step = beat(times, hertz, phase + 0.5 * side)
        pose.leg_flexion[:, side] = stride * step + 0.1
        lifted = np.clip(beat(times, hertz, phase + 0.5 * side + 0.2), 0, None)
        pose.knee[:, side] = 0.12 + 1.0 * stride / 0.5 * lifted
        pose.foot_pitch[:, side] = 0.5 * lifted - 0.2 * np.clip(step, 0, None)
        pose.arm_flexion[:, side] = -0.8 * stride * step
        pose.elbow[:, side] = 0.35 + 0.2 * np.clip(-step, 0, None)
        pose.arm_abduction[:, side] = rng.uniform(0.08, 0.2)
    pace = rng.uniform(0, 0.12) * np.sin(heading)
    travel = pace * (times - times.mean())
    return replace(pose, yaw=heading + 0.06 * beat(times, hertz, phase), shift=travel)


def _dance(times: Times, rng: np.random.Generator) -> BodyPose:
    pose = _idle(times, rng, yaw=0.6)
    hertz = rng.uniform(0.7, 1.4)
    for side in (0, 1):
        pose.arm_abduction[:, side] = np.clip(
            rng.uniform(0.4, 1.9) + wander(times, rng, extent=1.2), 0.1, 2.9
        )
        pose.arm_flexion[:, side] = rng.uniform(-0.2, 0.8) + wander(times, rng, extent=0.6)
        pose.arm_twist[:, side] = rng.uniform(0, 1.6) + wander(times, rng, extent=0.7)
        pose.elbow[:, side] = np.clip(
            rng.uniform(0.3, 1.4) + wander(times, rng, extent=0.9, hertz=hertz), 0, 2.3
        )
        curl = rng.uniform(0, 0.6) + wander(times, rng, extent=0.3)
        pose.finger_curl[:, side] = np.clip(curl, 0, 1)
        bounce = 0.5 + 0.5 * beat(times, hertz, 0.25 * side * rng.integers(0, 3))
        pose.knee[:, side] = 0.1 + 0.6 * rng.uniform(0.2, 1) * bounce
        pose.leg_flexion[:, side] = 0.5 * pose.knee[:, side]
        pose.leg_abduction[:, side] = rng.uniform(0.05, 0.3) + 0.1 * beat(times, 0.5 * hertz)
    hop = rng.uniform(0, 0.04) * np.clip(beat(times, hertz), 0, None)
    sway = {name: wander(times, rng, extent=extent) for name, extent in _DANCE_SWAY.items()}
    return replace(pose, lift=hop, roll=sway["roll"], pitch=sway["pitch"], shift=sway["shift"])


_DANCE_SWAY = {"roll": 0.25, "pitch": 0.15, "shift": 0.06}


def _squat(times: Times, rng: np.random.Generator) -> BodyPose:
    pose = _idle(times, rng, yaw=0.9)
    depth = rng.uniform(0.5, 1.0) * (0.5 - 0.5 * np.cos(2 * np.pi * rng.uniform(0.35, 0.7) * times))
    for side in (0, 1):
        pose.leg_flexion[:, side] = 1.5 * depth
        pose.knee[:, side] = 2.1 * depth
        pose.leg_abduction[:, side] = rng.uniform(0.1, 0.2) + 0.25 * depth
        pose.arm_flexion[:, side] = 0.1 + 1.4 * depth
        pose.elbow[:, side] = 0.2 + rng.uniform(0, 0.8) * depth
    return replace(pose, pitch=0.5 * depth)


def _turn(times: Times, rng: np.random.Generator) -> BodyPose:
    pose = _idle(times, rng)
    start, sweep = rng.uniform(-0.8, 0.8), rng.uniform(0.8, 2.2) * rng.choice([-1, 1])
    progress = 0.5 - 0.5 * np.cos(2 * np.pi * rng.uniform(0.2, 0.45) * times)
    for side in (0, 1):
        pose.arm_abduction[:, side] = rng.uniform(0.2, 1.2) + wander(times, rng, extent=0.15)
        pose.knee[:, side] = 0.1 + 0.25 * np.abs(beat(times, 0.8, 0.25 * side))
        pose.leg_flexion[:, side] = 0.5 * pose.knee[:, side]
    return replace(pose, yaw=start + sweep * progress)


MOTIONS: dict[str, Callable[[Times, np.random.Generator], BodyPose]] = {
    "dance": _dance,
    "squat": _squat,
    "turn": _turn,
    "walk": _walk,
    "wave": _wave,
}
"""By name; from the seconds of every frame. The generator decides tempo, extent, starting pose."""
