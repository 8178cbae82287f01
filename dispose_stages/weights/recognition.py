"""What a file that should be a checkpoint really is, from its first bytes and its own table.

Downloads go wrong in few ways: a pointer of Git LFS, the page of a sign-in, a file that ends
early, another model under the right name. All are told apart without reading the weights, and
without torch.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from dispose_stages.records import parse, read_bytes
from dispose_stages.weights.converted import HEADER_LIMIT
from dispose_stages.weights.layout import CheckpointFile

_HEAD = 1024
_PAGES = (b"<!doctype html", b"<html")
_LEGACY_PICKLE = b"\x80"
_ZIP = b"PK\x03\x04"
_ONNX = b"\x08"
"""The field that comes first: the version of the format."""


def placeholder(path: Path) -> str | None:
    """What stands in the place of the file, if it is a pointer or a web page.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if head.startswith(b"version https://git-lfs."):
        return "a pointer of Git LFS, not the file itself"
    if head.lstrip().lower().startswith(_PAGES):
        return "a web page, not the file (saved where a sign-in or a licence is asked for?)"
    return None


def wrong_form(path: Path, file: CheckpointFile) -> str | None:
    """Whether the content is not what a published file of that name holds, and how.

    Raises:
        OSError: The file cannot be read.
    """
    if path.suffix == ".json":
        return _wrong_json(path)
    if path.suffix == ".safetensors":
        return _wrong_safetensors(path, file)
    if path.suffix == ".onnx":
        return None if _starts(path, _ONNX) else "not an ONNX model"
    if path.suffix in {".pth", ".tar", ".bin"}:
        return _wrong_pickle(path, file)
    return None


def _starts(path: Path, with_bytes: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(with_bytes)) == with_bytes


def _wrong_json(path: Path) -> str | None:
    try:
        content = parse(read_bytes(path))
    except ValueError:
        return "cut short, or not JSON"
    return None if isinstance(content, dict) else "not a JSON object"


def _wrong_safetensors(path: Path, file: CheckpointFile) -> str | None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(length) if length <= HEADER_LIMIT else b""
    if length > HEADER_LIMIT or not header.startswith(b"{"):
        return "not a safetensors file"
    if len(header) < length:
        return f"cut short: {size:,} bytes, its header alone has {length:,}"
    try:
        table: dict[str, Any] = parse(header)
        tensors = {name: entry for name, entry in table.items() if name != "__metadata__"}
        whole = (
            8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
        )
        shapes = {name: tuple(entry["shape"]) for name, entry in tensors.items()}
    except (ValueError, TypeError, LookupError, AttributeError):
        return "not a safetensors file"
    if size < whole:
        return f"cut short: {size:,} bytes of {whole:,}"
    mark, shape = file.mark, file.mark_shape
    if not mark or (mark in shapes and shape in {(), shapes[mark]}):
        return None
    return f"another model: {mark}{f' {list(shape)}' if shape else ''} is not in it"


def _wrong_pickle(path: Path, file: CheckpointFile) -> str | None:
    if _starts(path, _LEGACY_PICKLE):
        return None
    if not zipfile.is_zipfile(path):
        return "cut short" if _starts(path, _ZIP) else "not a checkpoint of PyTorch"
    tables = _tables(path)
    if not tables:
        return "not a checkpoint of PyTorch"
    # Names of tensors stand in the pickle as they are; it is searched, never executed.
    if any(file.mark.encode() in table for table in tables):
        return None
    return f"another model: {file.mark} is not in it"


def _tables(path: Path) -> list[bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = (e for e in archive.infolist() if e.filename.endswith("/data.pkl"))
            return [archive.read(e) for e in entries if e.file_size <= HEADER_LIMIT]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):  # encrypted, or odd
        return []
