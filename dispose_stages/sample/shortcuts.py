"""What of the networks each step runs, where steps are shortened (docs/performance.md)."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float32
from torch import Tensor

from dispose_stages.sample.unit import SampleParams


@dataclass(frozen=True, slots=True)
class StepKind:
    """A step.

    Attributes:
        guided: Both guidance halves are run; else the conditional one alone.
        whole: All levels of the UNet and the ControlNet are run; else the outermost level only,
            with what the last whole step had below it.
        leaves: A whole step whose successor is not.
    """

    guided: bool = True
    whole: bool = True
    leaves: bool = False


def step_kinds(
    levels: Float32[Tensor, "steps_plus_1"], params: SampleParams
) -> tuple[StepKind, ...]:
    """The kind of every step.

    Args:
        levels: From `noise_levels`, on the host.
    """
    lowest, highest = params.guidance_interval or (0.0, float("inf"))
    guided = [params.guided and lowest <= level <= highest for level in levels[:-1].tolist()]
    whole: list[bool] = []
    age = 0
    for step, now in enumerate(guided):
        # What one half had below is not what two have.
        age = age + 1 if step and guided[step - 1] == now else 0
        age %= params.cache_interval
        whole.append(age == 0)
    shortened = [not each for each in (*whole[1:], True)]
    leaves = [each and after for each, after in zip(whole, shortened, strict=True)]
    return tuple(map(StepKind, guided, whole, leaves))
