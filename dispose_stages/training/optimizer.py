"""Adam for vectors, orthogonalised momentum for matrices.

A short training gains most from updates that use all directions of a weight matrix alike: the
momentum is replaced by the nearest semi-orthogonal matrix (Muon, Jordan et al., 2024; the scale
that makes one learning rate serve both kinds is from Liu et al., 2025).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration; they trade exactness for speed: singular values end in 0.7..1.2."""
_SCALE = 0.2
"""Root mean square of an Adam update, times the learning rate."""
_EPS = 1e-7
_ITERATIONS = 5


@torch.no_grad()
def orthogonalise(matrices: Float[Tensor, "n r c"]) -> Float[Tensor, "n r c"]:
    """The nearest semi-orthogonal matrix of each, roughly: singular values are brought near one.

    Newton-Schulz, in bfloat16.
    """
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    value = (matrices.mT if tall else matrices).bfloat16()
    value = value / (value.norm(dim=(-2, -1), keepdim=True) + _EPS)
    for _ in range(_ITERATIONS):
        gram = value @ value.mT
        value = a * value + (b * gram + c * gram @ gram) @ value
    result: Tensor = (value.mT if tall else value).to(matrices.dtype)
    return result


class MixedOptimizer(torch.optim.Optimizer):
    """AdamW, but orthogonalised momentum for the inner matrices and convolutions of a network.

    Args:
        parameters: By name. Those of two or more axes are inner matrices unless `outer` says so.
        learning_rate: Of both kinds; may be changed in `param_groups`.
        weight_decay: Decoupled, for matrices only.
        outer: Whether a parameter belongs to an input or output layer, which Adam serves better.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        *,
        learning_rate: float,
        weight_decay: float = 0.0,
        outer: Callable[[str, Tensor], bool] = lambda _name, _value: False,
    ) -> None:
        inner: list[Tensor] = []
        others: list[Tensor] = []
        for name, value in parameters.items():
            matrix = value.ndim >= 2 and min(value.shape[0], value[0].numel()) > 1
            (inner if matrix and not outer(name, value) else others).append(value)
        groups = [
            {"params": inner, "orthogonal": True, "weight_decay": weight_decay},
            {"params": others, "orthogonal": False, "weight_decay": 0.0},
        ]
        defaults = {"lr": learning_rate, "momentum": 0.95, "betas": (0.9, 0.98)}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        del closure
        for group in self.param_groups:
            present = [(p, p.grad) for p in group["params"] if p.grad is not None]
            (self._orthogonal if group["orthogonal"] else self._adam)(group, present)

    def _orthogonal(self, group: dict[str, Any], present: list[tuple[Tensor, Tensor]]) -> None:
        by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter, gradient in present:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(gradient, 1 - group["momentum"])
            direction = gradient.lerp(state["momentum"], group["momentum"]).flatten(1)
            by_shape[direction.shape[0], direction.shape[1]].append((parameter, direction))
        for (rows, columns), pairs in by_shape.items():
            updates = orthogonalise(torch.stack([direction for _, direction in pairs]))
            factor = group["lr"] * _SCALE * max(rows, columns) ** 0.5
            for (parameter, _), update in zip(pairs, updates, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(update.view_as(parameter), alpha=factor)

    def _adam(self, group: dict[str, Any], present: list[tuple[Tensor, Tensor]]) -> None:
        first, second = group["betas"]
        for parameter, gradient in present:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros(())
                state["mean"] = torch.zeros_like(parameter)
                state["square"] = torch.zeros_like(parameter)
            state["step"] += 1
            step = float(state["step"])
            state["mean"].lerp_(gradient, 1 - first)
            state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
            scale = (state["square"] / (1 - second**step)).sqrt_().add_(1e-8)
            parameter.addcdiv_(state["mean"], scale, value=-group["lr"] / (1 - first**step))
