"""Training on several processes, one batch each per step: data parallelism under ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: Number of this process; the first one writes files and logs.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0


def processes() -> Processes:
    """Those that joined; one if none did."""
    if not dist.is_initialized():
        return Processes()
    return Processes(dist.get_rank(), dist.get_world_size())


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the processes that ``torchrun`` started, if it did; leave them afterwards.

    Args:
        device: Where training runs, ``cpu`` or ``cuda``.

    Yields:
        The device of this process: of several, every one has a GPU of its own.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    cuda = device.startswith("cuda")
    if cuda:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield device
        # Nobody leaves before the first process has written its files.
        dist.barrier()
    finally:
        dist.destroy_process_group()


@torch.no_grad()
def share_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace every gradient by its mean over all processes, in one message.

    A parameter that had no gradient anywhere keeps none; one that some processes did not use
    counts as zero there.
    """
    if processes().count == 1:
        return
    used = torch.tensor([float(p.grad is not None) for p in parameters])
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    device = parameters[0].device
    message = torch.cat([*(g.flatten().float() for g in gradients), used.to(device)])
    dist.all_reduce(message)
    sizes = [p.numel() for p in parameters]
    *means, anywhere = torch.split(message / processes().count, [*sizes, len(sizes)])
    for parameter, mean, share in zip(parameters, means, anywhere.tolist(), strict=True):
        parameter.grad = mean.view_as(parameter).to(parameter.dtype) if share > 0 else None
