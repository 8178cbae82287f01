"""One training loop for all networks: mixed precision, moving average, resume, many processes."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dispose_stages.atomic import replacing
from dispose_stages.errors import ConfigError
from dispose_stages.training.optimizer import MixedOptimizer
from dispose_stages.training.parallel import processes, share_gradients

logger = logging.getLogger(__name__)

Losses = Mapping[str, Tensor]
"""Terms of the loss by name; their sum is what is minimised."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast.

    Attributes:
        steps: Optimiser steps in all.
        learning_rate: Peak, reached after `warmup` steps, falling along a cosine to a tenth.
        warmup: Steps of linear increase.
        weight_decay: Of AdamW.
        clip: Largest norm of the gradient.
        average: Decay of the moving average of the weights that is kept as the result.
        accumulate: Batches per optimiser step and process.
        save_every: Steps between saved states.
        log_every: Steps between log lines.
        precision: `bf16` computes in mixed precision; weights and optimiser stay float32.
        outer: Parts of the names of input and output layers, which Adam updates.
    """

    steps: int
    learning_rate: float = 3e-4
    warmup: int = 100
    weight_decay: float = 1e-2
    clip: float = 1.0
    average: float = 0.999
    accumulate: int = 1
    save_every: int = 200
    log_every: int = 50
    precision: str = "bf16"
    outer: tuple[str, ...] = ("conv_in", "conv_out")

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress)))


class WeightAverage:
    """Exponential moving average of trainable weights, short-sighted at first."""

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor], step: int) -> None:
        """Move towards the weights after `step` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in parameters.items():
            self.values[name].lerp_(value.detach(), 1 - decay)


class Trainer:
    """Trains the parameters of some modules that ask for gradients.

    Args:
        modules: By name; names are part of the saved state.
        schedule: How long and how fast.
        folder: Where the state is kept; a state found there is continued.

    Of several processes (`parallel`) each computes batches of its own; the first one writes and
    logs. Initial weights are to be the same everywhere.
    """

    def __init__(self, modules: Mapping[str, nn.Module], schedule: Schedule, folder: Path) -> None:
        self.modules = modules
        self.schedule = schedule
        self.path = folder / "state.pt"
        self.parameters = {
            f"{name}/{key}": parameter
            for name, module in modules.items()
            for key, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        self.optimizer = MixedOptimizer(
            self.parameters,
            learning_rate=schedule.learning_rate,
            weight_decay=schedule.weight_decay,
            outer=lambda name, _: any(part in name for part in schedule.outer),
        )
        self.average = WeightAverage(self.parameters, schedule.average)
        self.step = 0
        if self.path.exists():
            self._resume()

    def run(self, loss: Callable[[int], Losses]) -> None:
        """Train to the end of the schedule; at the end the modules hold the averaged weights.

        Args:
            loss: From the number of a batch (its only source of randomness) to the loss terms.
        """
        schedule = self.schedule
        sums: dict[str, float] = {}
        start, first = time.perf_counter(), self.step
        while self.step < schedule.steps:
            for name, value in self._step(loss).items():
                sums[name] = sums.get(name, 0.0) + value
            self.step += 1
            self.average.update(self.parameters, self.step)
            if self.step % schedule.log_every == 0 and processes().first:
                rate = (time.perf_counter() - start) / (self.step - first)
                terms = "  ".join(f"{k} {v / schedule.log_every:.5f}" for k, v in sums.items())
                left = rate * (schedule.steps - self.step) / 60
                logger.info(
                    "step %d/%d  %s  %.2f s/step  %.0f min left",
                    *(self.step, schedule.steps, terms, rate, left),
                )
                sums = {}
            if self.step % schedule.save_every == 0:
                self.save()
        self.save()
        self.load_average()

    def _step(self, loss: Callable[[int], Losses]) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        device = next(iter(self.parameters.values())).device.type
        sums: dict[str, float] = {}
        mine = processes()
        first = self.step * self.schedule.accumulate * mine.count
        for part in range(self.schedule.accumulate):
            mixed = self.schedule.precision == "bf16"
            with torch.autocast(device, dtype=torch.bfloat16, enabled=mixed):
                terms = loss(first + part * mine.count + mine.rank)
            total = torch.stack(list(terms.values())).sum() / self.schedule.accumulate
            total.backward()  # type: ignore[no-untyped-call]
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / self.schedule.accumulate
        share_gradients(list(self.parameters.values()))
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.schedule.clip)
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
        else:
            logger.warning("step %d skipped: the gradient is not finite", self.step)
        return sums

    @torch.no_grad()
    def load_average(self) -> None:
        """Put the averaged weights into the modules."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.average.values[name])

    def save(self) -> None:
        """Write everything that is needed to continue, atomically."""
        if not processes().first:
            return
        state = {
            "step": self.step,
            "parameters": {k: v.detach() for k, v in self.parameters.items()},
            "average": self.average.values,
            "buffers": {k: dict(m.named_buffers()) for k, m in self.modules.items()},
            "optimizer": self.optimizer.state_dict(),
        }
        with replacing(self.path) as temporary:
            torch.save(state, temporary)

    @torch.no_grad()
    def _resume(self) -> None:
        state: dict[str, Any] = torch.load(self.path, weights_only=True)
        if state["parameters"].keys() != self.parameters.keys():
            raise ConfigError(f"{self.path} belongs to other networks; remove it to start over")
        for name, parameter in self.parameters.items():
            parameter.copy_(state["parameters"][name])
            self.average.values[name].copy_(state["average"][name])
        for name, module in self.modules.items():
            for key, buffer in module.named_buffers():
                buffer.copy_(state["buffers"][name][key])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])
        logger.info("continuing at step %d", self.step)


def freeze(modules: Iterable[nn.Module]) -> None:
    """No gradients for these."""
    for module in modules:
        module.requires_grad_(requires_grad=False)
        module.eval()
