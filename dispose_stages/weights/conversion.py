"""Pickled checkpoints rewritten once as safetensors: safe by construction, and faster to load."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from dispose_stages.atomic import canonical_json, replacing
from dispose_stages.errors import WeightsError
from dispose_stages.store.files import file_digest
from dispose_stages.weights.converted import (
    BLANK,
    RECORD,
    VERSION,
    conversion_path,
    is_pickle,
    sealed_sha256,
)
from dispose_stages.weights.files import open_weights
from dispose_stages.weights.layout import FILES

_logger = logging.getLogger(__name__)


def pickles(root: Path) -> Iterator[Path]:
    """Every pickled checkpoint of a folder."""
    for path in (root / place.path for file in FILES for place in file.places):
        if is_pickle(path) and path.is_file():
            yield path


def convert_checkpoint(source: Path) -> Path:
    """Rewrite a pickled checkpoint as safetensors beside it; types and values are kept.

    The conversion takes over the pickle's time of change, by which it is known to be current.
    Holds one tensor at a time beside the mapped source.

    Args:
        source: ``.pth``, ``.pth.tar`` or ``.bin`` file.

    Raises:
        WeightsError: The source cannot be read or the conversion cannot be written.
    """
    if not is_pickle(source):
        raise WeightsError(f"{source}: is no pickled checkpoint, so there is nothing to convert")
    file, target = open_weights(source), conversion_path(source)
    status = source.stat()
    record = {
        "version": VERSION,
        "source": source.name,
        "source_size": status.st_size,
        "source_sha256": file_digest(source),
        "seal": BLANK,
    }
    tensors = _apart(file.tensors(set(file.shapes)))
    try:
        with replacing(target) as temporary:
            save_file(tensors, temporary, metadata={RECORD: canonical_json(record)})
            _seal(temporary)
            os.utime(temporary, ns=(status.st_atime_ns, status.st_mtime_ns))
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{target}: cannot be written: {error}") from error
    _logger.info("%s: %d tensors converted to %s", source, len(tensors), target)
    return target


def _apart(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Contiguous tensors, none of which shares its memory with another (the format knows none)."""
    apart, storages = {}, set()
    for key, value in tensors:
        storage = value.untyped_storage().data_ptr()
        apart[key] = (
            value.clone(memory_format=torch.contiguous_format)
            if storage in storages
            else value.contiguous()
        )
        storages.add(storage)
    return apart


def _seal(path: Path) -> None:
    seal = sealed_sha256(path, BLANK)
    with path.open("r+b") as raw:
        head = raw.read(8)
        head += raw.read(int.from_bytes(head, "little"))
        raw.seek(head.index(BLANK.encode()))
        raw.write(seal.encode())
