"""A node's own copy of the checkpoints, so that gigabytes cross the network once per node.

Copies lie in ``<cache>/dispose-weights-<user>/<folder's hash>`` under the names they have in
``models.root``. One process copies while others wait (`fcntl.flock`, which a local disk knows); a
file gets its name when it is whole and its digest is right, so a half copy is never used. Copies
that nobody used for `KEPT_DAYS` are removed. Where there is no room or no folder to trust, files
are used where they lie.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from dispose_stages.atomic import readable_json, replacing, try_lock, write_text
from dispose_stages.config_models import Models
from dispose_stages.errors import StoreError, WeightsError
from dispose_stages.records import parse, read_bytes
from dispose_stages.store.files import file_digest
from dispose_stages.weights.bundle import MARKER
from dispose_stages.weights.converted import read_record
from dispose_stages.weights.verification import stage_files

KEPT_DAYS = 7
_BLOCK = 1 << 24
_SPARE = 1 << 28
"""Bytes that are left free."""
_RECORD, _USED = "copied.json", "used"
_logger = logging.getLogger(__name__)

Known = Callable[[Path], tuple[str, str] | None]


def node_folder(models: Models, stage: str, known: Known = lambda _: None) -> Path:
    """Where a stage's checkpoints are opened: in the node's copy, made if there is none.

    Args:
        models: `models.cache` names a folder on the node; empty: there is no copy.
        known: Name and SHA-256 of a file, if its digest is known (`DigestCache.known`).

    Raises:
        WeightsError: A file is missing in `models.root`.
    """
    root = models.folder
    if not models.cache:
        return root
    files = [*stage_files(root, stage), *filter(Path.is_file, [root / MARKER])]
    try:
        return _copy_of(root, files, _own_folder(models.cache), known)
    except (OSError, WeightsError) as error:
        _logger.warning("checkpoints are used where they lie, without a copy: %s", error)
        return root


def _own_folder(cache: str) -> Path:
    """This user's folder of copies; others could put anything into one of theirs.

    Raises:
        WeightsError: A variable is not set, or somebody else made the folder.
    """
    place = os.path.expandvars(cache)
    if "$" in place:
        raise WeightsError(f"models.cache is {cache!r}, and a variable in it is not set here")
    folder = Path(place) / f"dispose-weights-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise WeightsError(f"{folder} is no folder of this user's own; remove it")
    return folder


def _copy_of(root: Path, files: list[Path], folder: Path, known: Known) -> Path:
    tree = folder / hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    with _locked(tree, wait=True):
        tree.mkdir(exist_ok=True)
        (tree / _USED).touch()
        for path in tree.rglob("*.tmp"):  # whoever wrote it was killed
            path.unlink()
        copied = _read_copied(tree)
        missing = [path for path in files if not _is_copied(copied, path, tree, root)]
        size = sum(path.stat().st_size for path in missing)
        if size + _SPARE > shutil.disk_usage(tree).free:
            raise WeightsError(f"{folder} has no room for {size / 1e9:.2f} GB")
        for path in missing:
            copied[str(path.relative_to(root))] = _copy(path, tree / path.relative_to(root), known)
            write_text(tree / _RECORD, readable_json(copied))
    for other in folder.iterdir():
        if other.is_dir() and other != tree:
            _remove_unused(other)
    return tree


@contextmanager
def _locked(tree: Path, *, wait: bool) -> Iterator[None]:
    """Hold a copy.

    Raises:
        BlockingIOError: Another process holds it, and `wait` is off.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(tree.with_name(f"{tree.name}.lock"), flags, 0o600)
    try:
        if not try_lock(descriptor):
            if not wait:
                raise BlockingIOError
            _logger.info("another process copies checkpoints to this node; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read_copied(tree: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, StoreError):
        content = parse(read_bytes(tree / _RECORD))
        return content if isinstance(content, dict) else {}
    return {}


def _is_copied(copied: dict[str, Any], path: Path, tree: Path, root: Path) -> bool:
    """Whether the copy is of the file as it is now."""
    source, target = path.stat(), tree / path.relative_to(root)
    entry = copied.get(str(path.relative_to(root)))
    whole = target.is_file() and target.stat().st_size == source.st_size
    return whole and isinstance(entry, list) and entry[:2] == [source.st_size, source.st_mtime_ns]


def _copy(source: Path, target: Path, known: Known) -> list[int | str]:
    """Copy a file and compare; returns size and time of the source, and its SHA-256.

    Raises:
        WeightsError: The source is not what it was, or the disk does not give back what it took.
    """
    before = source.stat()
    _logger.info("copying %s (%.2f GB) to this node", source, before.st_size / 1e9)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        with source.open("rb") as reading, temporary.open("wb") as writing:
            digest = _pour(reading, writing)
            writing.flush()
            os.fsync(writing.fileno())
            # Else the comparison would read what is still in memory.
            os.posix_fadvise(writing.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        wanted = known(source)
        if wanted is not None and read_record(source) is None and wanted[1] != digest:
            raise WeightsError(f"{source} is not the file whose digest is known")
        if file_digest(temporary) != digest:
            raise WeightsError(f"{target}: the copy is not what was copied")
    return [before.st_size, before.st_mtime_ns, digest]


def _pour(reading: BinaryIO, writing: BinaryIO) -> str:
    """Copy; returns the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    while block := reading.read(_BLOCK):
        digest.update(block)
        writing.write(block)
    return digest.hexdigest()


def _remove_unused(tree: Path) -> None:
    """A copy that nobody uses any more, unless somebody begins to."""
    with suppress(OSError), _locked(tree, wait=False):
        used = tree / _USED
        age = time.time() - (used if used.exists() else tree).stat().st_mtime
        if age > KEPT_DAYS * 86400:
            shutil.rmtree(tree)
            _logger.info("removed a copy of checkpoints that was not used for %d days", KEPT_DAYS)
