"""Noise levels and the step from one to the next (Karras et al. 2022; algorithm §9).

Latents at a noise level are data plus that many times unit noise. The network sees them scaled to
unit variance and predicts ``v``. Levels stay on the host, where reading them costs no wait.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

_RHO = 7.0


def noise_levels(steps: int, lowest: float, highest: float) -> Float32[Tensor, "steps_plus_1"]:
    """Levels from the highest to the lowest, their 7th roots evenly spaced, then zero."""
    ramp = np.linspace(0, 1, steps)
    low, high = lowest ** (1 / _RHO), highest ** (1 / _RHO)
    levels = (high + ramp * (low - high)) ** _RHO
    return torch.from_numpy(np.append(levels, 0.0).astype(np.float32))


def timesteps(levels: Float32[Tensor, "steps_plus_1"]) -> Float32[Tensor, "steps"]:
    """What the network is told of each level but the last: a quarter of its logarithm.

    Always float32. (The original's are float16 where it makes that the default dtype.)
    """
    # One by one: a vectorised logarithm may round the last bit otherwise.
    return torch.stack([0.25 * level.log() for level in levels[:-1]])


def initial_scale(levels: Float32[Tensor, "steps_plus_1"]) -> Float32[Tensor, ""]:
    """Deviation of the latents before the first step, data included."""
    return (levels[0] ** 2 + 1) ** 0.5


def to_unit_variance(
    latents: Float32[Tensor, "f 4 h w"], level: Float32[Tensor, ""]
) -> Float32[Tensor, "f 4 h w"]:
    """What the network is shown."""
    return latents / ((level**2 + 1) ** 0.5)


def predicted_data(
    latents: Float32[Tensor, "f 4 h w"],
    prediction: Float32[Tensor, "f 4 h w"],
    level: Float32[Tensor, ""],
) -> Float32[Tensor, "f 4 h w"]:
    """The data that a prediction means."""
    return prediction * (-level / (level**2 + 1) ** 0.5) + latents / (level**2 + 1)


def step_away(
    latents: Float32[Tensor, "f 4 h w"],
    data: Float32[Tensor, "f 4 h w"],
    level: Float32[Tensor, ""],
    following: Float32[Tensor, ""],
) -> Float32[Tensor, "f 4 h w"]:
    """Latents at the following noise level, along the direction away from the data."""
    return latents + (latents - data) / level * (following - level)


def euler_step(
    latents: Float32[Tensor, "f 4 h w"],
    prediction: Float32[Tensor, "f 4 h w"],
    level: Float32[Tensor, ""],
    following: Float32[Tensor, ""],
) -> Float32[Tensor, "f 4 h w"]:
    """Latents at the following noise level, as if the predicted data stayed the same."""
    return step_away(latents, predicted_data(latents, prediction, level), level, following)


def extrapolated_data(
    data: Float32[Tensor, "f 4 h w"],
    former: Float32[Tensor, "f 4 h w"],
    levels: Float32[Tensor, "3"],
) -> Float32[Tensor, "f 4 h w"]:
    """The data halfway to the following level, from those of this level and the one before.

    Linear in the logarithm of the level: DPM-Solver++(2M) (Lu et al. 2022), which is an Euler step
    with these data.

    Args:
        data: Predicted at this level.
        former: Predicted at the level before.
        levels: The one before, this one and the following, which is not zero.
    """
    before, now = (levels[:-1] / levels[1:]).log()
    ahead: Tensor = data + (data - former) * (now / (2 * before))
    return ahead
