"""Networks filled from checkpoint files: strictly checked, allocated once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dispose_stages.errors import WeightsError
from dispose_stages.weights.files import Shape, WeightFile

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
"""Of each precision that the configuration knows."""
_LISTED = 8


class _Undrawn(TorchFunctionMode):
    """Leaves tensors as they are where `torch.nn.init` would give them first values."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == nn.init.__name__:
            return kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def unfilled() -> Iterator[None]:
    """Networks that are built here await `fill`: on the meta device, without first values.

    To draw values there imports torch's compiler and SymPy, which takes a second.
    """
    with torch.device("meta"), _Undrawn():
        yield


def parameter_shapes(network: nn.Module, prefix: str = "") -> dict[str, Shape]:
    """Shape of every entry of a network's state dict, under `prefix`."""
    return {prefix + key: tuple(value.shape) for key, value in network.state_dict().items()}


def fill(
    network: nn.Module,
    file: WeightFile,
    *,
    dtype: torch.dtype | None,
    device: torch.device | str,
    rename: Callable[[str], str] = str,
    ignored: Collection[str] = (),
    fallback: Mapping[str, Tensor] | None = None,
) -> None:
    """Give a network that was built `unfilled` the tensors of a file, frozen, in evaluation mode.

    Args:
        network: Whose parameters become the file's tensors.
        file: Only what the network needs of it is kept.
        dtype: Of floating-point parameters; that of the file if None.
        rename: Key in the file to key in the network.
        ignored: Keys, as the network would name them, that the file may hold although the network
            does without them.
        fallback: Parameters for keys that the file may lack.

    Raises:
        WeightsError: Names all that does not fit.
    """
    expected = parameter_shapes(network)
    kept = {**_counters(expected), **(fallback or {})}
    found = {rename(key): shape for key, shape in file.shapes.items()}
    if len(found) < len(file.shapes):
        raise WeightsError(f"{file.path} does not fit: it holds two tensors for one parameter")
    for key in found.keys() & set(ignored) - expected.keys():
        del found[key]
    problems = _fit_problems(expected, found, optional=kept)
    if problems:
        raise WeightsError(f"{file.path} does not fit: {'; '.join(problems)}")
    floats = {key: value.is_floating_point() for key, value in network.state_dict().items()}
    state = {k: _moved(v, dtype, device) for k, v in kept.items() if k not in found}
    for key, value in file.tensors({key for key in file.shapes if rename(key) in expected}):
        if value.is_floating_point() != floats[rename(key)]:
            raise WeightsError(f"{file.path} does not fit: {key} holds {value.dtype}")
        state[rename(key)] = _moved(value, dtype, device)
    network.load_state_dict(state, strict=True, assign=True)
    network.requires_grad_(requires_grad=False).eval()


def _counters(expected: Collection[str]) -> dict[str, Tensor]:
    """Files of old torch versions do not count batches, and inference does not read the count."""
    zero = torch.zeros((), dtype=torch.int64)
    return {key: zero for key in expected if key.endswith(".num_batches_tracked")}


def _moved(value: Tensor, dtype: torch.dtype | None, device: torch.device | str) -> Tensor:
    return value.to(device, dtype if value.is_floating_point() else None)


def _fit_problems(
    expected: Mapping[str, Shape], found: Mapping[str, Shape], *, optional: Collection[str]
) -> list[str]:
    """What keeps a file's tensors from being a network's parameters; empty if nothing does."""
    missing = [key for key in expected if key not in found and key not in optional]
    unexpected = [key for key in found if key not in expected]
    wrong = [
        f"{key} is {list(found[key])} instead of {list(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("wrong shape:", wrong))
    return [f"{len(names)} {kind} {_some(names)}" for kind, names in kinds if names]


def _some(names: list[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
