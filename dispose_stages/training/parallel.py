"""Training on several processes, one batch each per step: data parallelism under ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """Number of this process among those that joined; the first one, 0, writes files and logs."""
    return dist.get_rank() if dist.is_initialized() else 0


def process_count() -> int:
    """How many processes joined; one if none did."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the processes that ``torchrun`` started, if it did; leave them afterwards.

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
    if process_count() == 1:
        return
    used = torch.tensor([float(p.grad is not None) for p in parameters])
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    device = parameters[0].device
    message = torch.cat([*(g.flatten().float() for g in gradients), used.to(device)])
    dist.all_reduce(message)
    sizes = [p.numel() for p in parameters]
    *means, anywhere = torch.split(message / process_count(), [*sizes, len(sizes)])
    for parameter, mean, share in zip(parameters, means, anywhere.tolist(), strict=True):
        parameter.grad = mean.view_as(parameter).to(parameter.dtype) if share > 0 else None
