"""Pickled checkpoints rewritten once as safetensors, in the order of execution.

A conversion lies beside its source and records what it was made from. It is read sequentially, is
safe by construction, and loads several times faster than the pickle.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dispose_stages.atomic import replacing
from dispose_stages.errors import WeightsError
from dispose_stages.weights.files import open_weights

_logger = logging.getLogger(__name__)
_VERSION = "1"
_PICKLE = re.compile(r"\.(pth|pt|bin|ckpt)(\.tar)?$")
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
# Order of the parts of a UNet or ControlNet; parts that are not listed keep their place in the
# file, before all others.
_PARTS = (
    "conv_in",
    "time_embedding",
    "add_embedding",
    "controlnet_cond_embedding",
    "point_adapter",
    "down_blocks",
    "mid_block",
    "controlnet_down_blocks",
    "controlnet_mid_block",
    "up_blocks",
    "conv_norm_out",
    "conv_out",
)
_NETWORKS = ("pose_net", "unet")
_KINDS = ("resnets", "attentions", "downsamplers", "upsamplers")


def is_pickle(path: Path) -> bool:
    """Whether a checkpoint's name says that it is a pickle."""
    return _PICKLE.search(path.name) is not None


def conversion_path(source: Path) -> Path:
    """Where the conversion of a pickle lies: the same name, ending in ``.safetensors``."""
    return source.with_name(_PICKLE.sub("", source.name) + ".safetensors")


def convert_checkpoint(source: Path, target: Path | None = None) -> Path:
    """Rewrite a pickled checkpoint as safetensors; types and values are kept.

    Written to a temporary name, flushed and renamed. Holds one tensor at a time beside the mapped
    source.

    Args:
        source: ``.pth``, ``.pth.tar`` or ``.bin`` file.
        target: Where to write; `conversion_path` by default.

    Returns:
        The file that was written.

    Raises:
        WeightsError: The source cannot be read or the target cannot be written.
    """
    target = target or conversion_path(source)
    if source.suffix == ".safetensors":
        raise WeightsError(f"{source}: already in the safetensors format")
    file = open_weights(source)
    status = source.stat()
    metadata = {
        "format": "pt",
        "conversion": _VERSION,
        "source": source.name,
        "source_size": str(status.st_size),
        "source_mtime_ns": str(status.st_mtime_ns),
        "source_sha256": file_digest(source),
    }
    tensors = dict(file.tensors(set(file.shapes)))
    order = sorted(execution_order(tensors), key=lambda key: -tensors[key].dtype.itemsize)
    try:
        with replacing(target) as temporary:
            _write(temporary, {key: tensors[key] for key in order}, metadata)
    except OSError as error:
        raise WeightsError(f"{target}: cannot be written: {error}") from error
    _logger.info("%s: %d tensors converted to %s", source, len(tensors), target)
    return target


def resolve_weights(path: Path) -> Path:
    """The file to load for a checkpoint: a valid conversion of it, or itself.

    A conversion is valid if the source has the size and time of change that it records, or else
    the same digest; or if there is no source beside it.

    Raises:
        WeightsError: Neither is there.
    """
    target = conversion_path(path)
    if target == path or not target.exists():
        if not path.exists():
            raise WeightsError(f"{path}: no such checkpoint")
        return path
    if not path.exists() or is_current(target, path):
        return target
    _logger.warning("%s is not a conversion of the present %s and is not used", target, path.name)
    return path


def is_current(target: Path, source: Path) -> bool:
    """Whether `target` was made from `source` as it is now."""
    try:
        with safe_open(target, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError):
        return False
    if metadata.get("conversion") != _VERSION:
        return False
    status = source.stat()
    if metadata.get("source_size") != str(status.st_size):
        return False
    if metadata.get("source_mtime_ns") == str(status.st_mtime_ns):
        return True
    return metadata.get("source_sha256") == file_digest(source)  # copied, with a new time


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises:
        WeightsError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error}") from error


def execution_order(keys: Iterable[str]) -> list[str]:
    """Sort state-dict keys by when the networks of this package use them; others stay put."""
    return sorted(keys, key=_rank)


def _rank(key: str) -> tuple[int, ...]:
    parts = key.split(".")
    network = _NETWORKS.index(parts[0]) + 1 if parts[0] in _NETWORKS else 0
    if parts[0] in _NETWORKS:
        parts = parts[1:]
    if parts[0] not in _PARTS:
        return (network,)
    rank = (network, _PARTS.index(parts[0]) + 1)
    numbered = [int(parts[1])] if parts[0].endswith("_blocks") else []
    inner = parts[1 + len(numbered) :]
    if inner[0] not in _KINDS:
        return (*rank, *numbered)
    kind, layer = _KINDS.index(inner[0]), int(inner[1])
    # Residual layer j, transformer j, residual layer j + 1, ...; samplers come last.
    position = 2 * layer + kind if kind < 2 else 1 << 30
    return (*rank, *numbered, position)


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """The safetensors format, in the given order (the library's own writer sorts by name)."""
    header: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for key, value in tensors.items():
        end = offset + value.numel() * value.dtype.itemsize
        header[key] = {
            "dtype": _NAMES[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for value in tensors.values():
            file.write(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
