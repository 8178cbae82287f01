"""Checkpoint files as named tensors: shapes first, values one by one.

Shapes are known without reading values, so that a file that does not fit is refused before
gigabytes move. Values come in the order of the file: a ``.safetensors`` file is read sequentially,
a pickle is mapped into memory. A reader that casts or moves each tensor as it comes holds the
result and one tensor, never the file twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dispose_stages.errors import WeightsError
from dispose_stages.records import parse, read_bytes
from dispose_stages.weights.pickles import read_pickle

Shape = tuple[int, ...]

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class WeightFile:
    """An open checkpoint file.

    Attributes:
        path: Where it is; named in errors.
        shapes: Of every tensor, in the order of the file.
        metadata: Text that a ``.safetensors`` file carries.
    """

    path: Path
    shapes: Mapping[str, Shape]
    metadata: Mapping[str, str]
    _read: Callable[[Collection[str]], Iterator[tuple[str, Tensor]]] = field(repr=False)

    def tensors(self, wanted: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """Values of the wanted keys, in the order of the file, on the CPU.

        Raises:
            WeightsError: The file ends early.
        """
        return self._read(wanted)


def open_weights(path: Path) -> WeightFile:
    """Open a ``.safetensors`` file, or a pickle of tensors (``.pth``, ``.pth.tar``, ``.bin``).

    A training checkpoint that keeps its tensors under ``state_dict`` is taken for those alone.

    Raises:
        WeightsError: The file is not there, is damaged, or holds anything that could run code.
    """
    return _open_safetensors(path) if path.suffix == ".safetensors" else _open_pickle(path)


def _open_pickle(path: Path) -> WeightFile:
    content: Any = read_pickle(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise WeightsError(f"{path}: not a state dict of tensors")
    if odd := [k for k, v in content.items() if v.layout != torch.strided or v.is_quantized]:
        raise WeightsError(f"{path}: {odd[0]} is a sparse or quantised tensor, not a plain one")
    state: Mapping[str, Tensor] = content
    return WeightFile(
        path=path,
        shapes={key: tuple(value.shape) for key, value in state.items()},
        metadata={},
        _read=lambda wanted: ((k, v.detach()) for k, v in state.items() if k in wanted),
    )


def _open_safetensors(path: Path) -> WeightFile:
    layout: dict[str, tuple[torch.dtype, Shape, int]] = {}
    try:
        # The library checks the header: sizes fit, tensors are contiguous and do not overlap.
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            slices = {key: file.get_slice(key) for key in file.offset_keys()}
            with path.open("rb") as raw:
                offset = 8 + int.from_bytes(raw.read(8), "little")
            for key, item in slices.items():
                dtype, shape = _DTYPES[item.get_dtype()], tuple(item.get_shape())
                layout[key] = (dtype, shape, offset)
                offset += math.prod(shape) * dtype.itemsize
    except (OSError, SafetensorError, KeyError) as error:
        raise WeightsError(f"{path}: is no whole safetensors file: {error}") from error

    def read(wanted: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        with path.open("rb", buffering=0) as raw:
            for key, (dtype, shape, start) in layout.items():
                if key in wanted:
                    raw.seek(start)
                    yield key, _read_tensor(raw.readinto, dtype, shape, path)

    return WeightFile(
        path=path,
        shapes={key: shape for key, (_, shape, _) in layout.items()},
        metadata=metadata,
        _read=read,
    )


def _read_tensor(
    readinto: Callable[[memoryview], int | None], dtype: torch.dtype, shape: Shape, path: Path
) -> Tensor:
    value = torch.empty(shape, dtype=dtype)
    if not value.numel():
        return value
    view = value.reshape(-1).view(torch.uint8).numpy().data
    while view:
        count = readinto(view)
        if not count:
            raise WeightsError(f"{path}: ends in the middle of a tensor")
        view = view[count:]
    return value


def read_json(path: Path) -> dict[str, Any]:
    """A configuration file that lies beside weights.

    Raises:
        WeightsError: It is not there or is no JSON object.
    """
    try:
        return dict(parse(read_bytes(path)))
    except (OSError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read: {error}") from error
