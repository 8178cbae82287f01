"""Regional compilation: a graph per kind of block and shape, shared by all blocks of the kind.

A whole UNet takes minutes to compile; its blocks are a few kinds, so compiling these takes seconds
and brings nearly the same. What the compiler writes is code: it is kept in a folder that belongs to
the user alone, never beside artifacts. Where a block does not compile, or what came of it does not
run, the block's plain code does.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dispose_stages.errors import ConfigError
from dispose_stages.faults import is_out_of_memory, machine_fault
from dispose_stages.models.residual import SpatioTemporalResidualBlock
from dispose_stages.models.transformer import SpatialLayer, TemporalLayer

_logger = logging.getLogger(__name__)
REGIONS = (SpatioTemporalResidualBlock, SpatialLayer, TemporalLayer)
_SAID = 300
_SHAPES = 64
"""Graphs of one kind of block: resolutions times widths times batches."""


_of_this_process: list[Compilation] = []


def compiled_so_far() -> str:
    """``yes``, ``no``, or why not, for the provenance of what this process computes."""
    if not _of_this_process:
        return "no"
    return next((c.failure for c in _of_this_process if c.failure), "yes")


class Compilation:
    """Compiled blocks of some networks, until the compiler fails once.

    Args:
        backend: Of ``torch.compile``.

    Attributes:
        failure: What the compiler said, empty as long as all is well.
    """

    def __init__(self, backend: str | Callable[..., Any] = "inductor") -> None:
        self.failure = ""
        self._backend = backend
        _of_this_process.append(self)

    def add(self, networks: Iterable[nn.Module]) -> None:
        """Compile every block of the kinds in `REGIONS` when it first runs."""
        import torch._dynamo

        torch._dynamo.config.recompile_limit = _SHAPES  # noqa: SLF001 - its public place
        for network in networks:
            for module in network.modules():
                if isinstance(module, REGIONS):
                    setattr(module, "forward", self._guarded(module.forward))  # noqa: B010 - mypy

    def _guarded(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        compiled = torch.compile(forward, fullgraph=True, dynamic=False, backend=self._backend)

        def region(*arguments: Any, **options: Any) -> Any:
            if not self.failure:
                try:
                    return compiled(*arguments, **options)
                except Exception as error:
                    if is_out_of_memory(error) or machine_fault(error):
                        raise
                    failure = " ".join(f"{type(error).__name__}: {error}".split())[:_SAID]
                # Where the plain code fails as well, its error counts, and nothing is noted.
                output = forward(*arguments, **options)
                self.failure = failure
                _logger.warning("not compiled, the plain code runs instead: %s", failure)
                return output
            return forward(*arguments, **options)

        return region


def compile_blocks(networks: Iterable[nn.Module], folder: str) -> None:
    """Compile the blocks of networks; the code is kept in `folder`, or in the user's own cache.

    Raises:
        ConfigError: As `use_folder`.
    """
    use_folder(Path(folder).expanduser() if folder else default_folder())
    Compilation().add(networks)


def use_folder(folder: Path) -> None:
    """Keep compiled code there, between jobs, unless the user's environment names a place.

    Raises:
        ConfigError: It cannot be made, or others could put code into it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise ConfigError(
            f"compute.compile_cache: {folder} cannot be used ({error.strerror}); name another, "
            "or set sampling.compile: off"
        ) from error
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ConfigError(
            f"compute.compile_cache: {folder} must be yours alone, because it holds code; "
            f"chmod 700 {folder}, or name another"
        )
    for variable, name in (("TORCHINDUCTOR_CACHE_DIR", "inductor"), ("TRITON_CACHE_DIR", "triton")):
        os.environ.setdefault(variable, str(folder / name))


def default_folder() -> Path:
    """In the user's own cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return Path(cache or Path.home() / ".cache") / "dispose-stages" / "compiled"
