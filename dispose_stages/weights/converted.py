"""Conversions of pickled checkpoints: which file is used, and what it stands for. Free of torch.

A conversion lies beside its pickle under the same name, ending in ``.safetensors``. It carries a
record of what it was made from and a seal: the SHA-256 of the whole file, record included, with the
seal itself as zeros. A conversion stands for its pickle, also where that is gone; a seal that does
not hold is an error, so neither a damaged file nor one that took over somebody's record passes for
a pickle that it was not made from.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from dispose_stages.errors import WeightsError
from dispose_stages.records import parse
from dispose_stages.store.files import file_digest

RECORD = "conversion"
"""The entry of a conversion's metadata that holds the record."""
VERSION = 2
BLANK = 64 * "0"
"""In the place of the seal while it is computed."""
_FIELDS = {"version": int, "source": str, "source_size": int, "source_sha256": str, "seal": str}
_PICKLE = re.compile(r"\.(pth|pt|bin|ckpt)(\.tar)?$")
HEADER_LIMIT = 100_000_000
"""Bytes of the header of a ``.safetensors`` file; the format allows no larger one."""


def is_pickle(path: Path) -> bool:
    """Whether a checkpoint's name says that it is a pickle."""
    return _PICKLE.search(path.name) is not None


def conversion_path(source: Path) -> Path:
    """Where the conversion of a pickle lies: the same name, ending in ``.safetensors``."""
    return source.with_name(_PICKLE.sub("", source.name) + ".safetensors")


def find_in_use(folder: Path, names: Iterable[str]) -> Path | None:
    """The file that is loaded for the first of these names that is there.

    A pickle gives way to its conversion while that is current; a conversion is used without its
    pickle too, but never beside one that it was not made from.

    Args:
        names: Accepted names, best first; with slashes where files lie deeper.
    """
    paths = [folder / name for name in names]
    conversions = [conversion_path(path) for path in paths if is_pickle(path)]
    for path in (*paths, *conversions):
        if path.is_file() and not _is_outdated(path):
            target = conversion_path(path)
            return target if is_pickle(path) and is_current(target, path) else path
    return None


def is_current(target: Path, source: Path) -> bool:
    """Whether `target` is the conversion of `source` as it is now, by name, size and time."""
    record = read_record(target)
    return record is not None and _fits(record, target, source)


def _is_outdated(path: Path) -> bool:
    """Whether a conversion lies beside a pickle of its source's name that is another one."""
    record = read_record(path)
    if record is None:
        return False
    source = path.with_name(record["source"])
    return source.is_file() and not _fits(record, path, source)


def _fits(record: dict[str, Any], target: Path, source: Path) -> bool:
    status = source.stat()
    return (
        record["source"] == source.name
        and record["source_size"] == status.st_size
        and target.stat().st_mtime_ns == status.st_mtime_ns
    )


def read_record(path: Path) -> dict[str, Any] | None:
    """What a file says it was converted from; None if it says nothing or cannot be read."""
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="np") as file:
            record = parse((file.metadata() or {})[RECORD].encode())
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    return record if _is_record(record) else None


def _is_record(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("version") != VERSION:
        return False
    known = all(isinstance(value.get(name), kind) for name, kind in _FIELDS.items())
    # The source lies beside the conversion, so it is a name and no path.
    return known and is_pickle(Path(value["source"])) and "/" not in value["source"]


def content_identity(path: Path) -> tuple[str, str]:
    """Name and SHA-256 of a checkpoint file, or of the pickle that it is the conversion of.

    Raises:
        WeightsError: The seal of a conversion does not hold.
        OSError: The file cannot be read.
    """
    record = read_record(path)
    if record is None:
        return path.name, file_digest(path)
    if sealed_sha256(path, record["seal"]) != record["seal"]:
        raise WeightsError(
            f"{path}: is not what was converted from {record['source']}; remove it, or renew it "
            "with `dispose weights convert`"
        )
    return record["source"], record["source_sha256"]


def sealed_sha256(path: Path, seal: str) -> str:
    """SHA-256 of a conversion, with its seal taken for blank."""
    with path.open("rb") as stream:
        length = stream.read(8)
        head = stream.read(min(int.from_bytes(length, "little"), HEADER_LIMIT))
        begun = hashlib.sha256(length + head.replace(seal.encode(), BLANK.encode(), 1))
        return hashlib.file_digest(stream, lambda: begun).hexdigest()
