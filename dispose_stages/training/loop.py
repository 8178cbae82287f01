"""One training loop for all networks: mixed precision, moving average, resume, many processes."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from dispose_stages.atomic import replacing
from dispose_stages.config_section import Section
from dispose_stages.errors import ConfigError
from dispose_stages.training.optimizer import MixedOptimizer
from dispose_stages.training.parallel import process_count, rank, share_gradients

logger = logging.getLogger(__name__)

Losses = Mapping[str, Tensor]
"""Terms of the loss by name; their sum is what is minimised."""


_CLIP = 1.0
"""Largest norm of the gradient."""


class Schedule(Section):
    """How long and how fast one training goes."""

    steps: int = Field(ge=1)
    """Optimiser steps in all."""
    learning_rate: float = Field(gt=0)
    """Peak; falls along a cosine to a tenth."""
    average: float = Field(default=0.995, ge=0, lt=1)
    """Decay of the moving average of the weights that is the result."""
    warmup: int = Field(default=30, ge=0)
    """Steps until the peak is reached."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled, of matrices."""
    accumulate: int = Field(default=1, ge=1)
    """Batches per optimiser step."""
    save_every: int = Field(default=50, ge=1)
    """Steps between saved states."""
    log_every: int = Field(default=10, ge=1)
    """Steps between log lines."""

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
        folder: Where the state is kept; a state found there is continued.
        mixed: Compute in bfloat16; weights and optimiser stay float32.
        outer: Parts of the names of input and output layers, which Adam updates.

    Of several processes (`parallel`) each computes batches of its own; the first one writes and
    logs. Initial weights are to be the same everywhere.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        schedule: Schedule,
        folder: Path,
        *,
        mixed: bool = True,
        outer: Sequence[str] = ("conv_in", "conv_out"),
    ) -> None:
        self.modules = modules
        self.schedule = schedule
        self.mixed = mixed
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
            outer=lambda name, _: any(part in name for part in outer),
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
        sums: dict[str, float] = defaultdict(float)
        start, first = time.perf_counter(), self.step
        while self.step < schedule.steps:
            for name, value in self._step(loss).items():
                sums[name] += value
            self.step += 1
            self.average.update(self.parameters, self.step)
            if self.step % schedule.log_every == 0:
                self._log(sums, (time.perf_counter() - start) / (self.step - first))
                sums.clear()
            if self.step % schedule.save_every == 0:
                self.save()
        self.save()
        self.load_average()

    def _log(self, sums: Mapping[str, float], seconds: float) -> None:
        schedule = self.schedule
        terms = "  ".join(f"{k} {v / schedule.log_every:.5f}" for k, v in sums.items())
        left = seconds * (schedule.steps - self.step) / 60
        if rank() == 0:
            logger.info(
                "step %d/%d  %s  %.2f s/step  %.0f min left",
                *(self.step, schedule.steps, terms, seconds, left),
            )

    def _step(self, loss: Callable[[int], Losses]) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        device = next(iter(self.parameters.values())).device.type
        sums: dict[str, float] = defaultdict(float)
        parts, processes = self.schedule.accumulate, process_count()
        first = self.step * parts * processes + rank()
        for part in range(parts):
            with torch.autocast(device, dtype=torch.bfloat16, enabled=self.mixed):
                terms = loss(first + part * processes)
            total = torch.stack(list(terms.values())).sum() / parts
            total.backward()  # type: ignore[no-untyped-call]
            for name, value in terms.items():
                sums[name] += float(value.detach()) / parts
        share_gradients(list(self.parameters.values()))
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), _CLIP)
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
        if rank() != 0:
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
