"""Whatever a remembered or given JSON file holds, reading it ends as if it were not there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from dispose_stages.batch.unit import Unit
from dispose_stages.errors import WeightsError
from dispose_stages.export.publish import Receipt
from dispose_stages.ingest.stage import ProbeCache
from dispose_stages.store.files import FileState, file_digest
from dispose_stages.store.media import probe_media
from dispose_stages.store.sources import ContentMemory
from dispose_stages.weights.bundle import MARKER, read_marker
from dispose_stages.weights.digests import DigestCache
from dispose_stages.weights.files import read_json

DAMAGES = {
    "deep": b"[" * 200_000,
    "deep mapping": b'{"format":' * 100_000,
    "not a number": b'{"name": NaN, "format": NaN, "files": Infinity}',
    "text": b'"dispose-probe"',
    "list": b"[1, 2, 3]",
    "number": b"7",
    "bytes": b"\xff\xfe\x00{",
    "nothing": b"",
}


def media(folder: Path) -> tuple[Unit, FileState]:
    path = folder / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    unit = Unit("ingest", "u", "a.png", 0, {"kind": "image"}, {"media": str(path)}, {}, key="ab")
    state = FileState.of(path)
    assert state is not None
    return unit, state


def remembered_probe(folder: Path, damage: bytes) -> None:
    unit, state = media(folder)
    cache = ProbeCache(folder / "ingest")
    cache.commit(unit, (state, probe_media(Path(state.path), kind="image")))
    assert cache.find(unit) is not None
    cache._path(unit, state).write_bytes(damage)
    assert cache.find(unit) is None


def remembered_content(folder: Path, damage: bytes) -> None:
    _, state = media(folder)
    memory = ContentMemory(folder / "ingest")
    memory.remember(state, "wrong on purpose")
    memory._path(state).write_bytes(damage)
    assert memory.digest(state) == file_digest(Path(state.path))


def remembered_weights(folder: Path, damage: bytes) -> None:
    (folder / "digests.json").write_bytes(damage)
    assert DigestCache(folder / "digests.json").known(folder / "digests.json") is None


def marker(folder: Path, damage: bytes) -> None:
    (folder / MARKER).write_bytes(damage)
    with pytest.raises(WeightsError, match=MARKER):
        read_marker(folder)


def configuration(folder: Path, damage: bytes) -> None:
    (folder / "config.json").write_bytes(damage)
    with pytest.raises(WeightsError, match=r"config\.json"):
        read_json(folder / "config.json")


def receipt(folder: Path, damage: bytes) -> None:
    (folder / "receipt.json").write_bytes(damage)
    assert Receipt.read(folder / "receipt.json") is None


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize(
    "read",
    [
        remembered_probe,
        remembered_content,
        remembered_weights,
        marker,
        configuration,
        receipt,
    ],
)
def test_damage_is_no_crash(
    tmp_path: Path, read: Callable[[Path, bytes], None], damage: bytes
) -> None:
    """What is remembered is found out anew; what was given is named in one typed error."""
    read(tmp_path, damage)


def test_facts_of_other_types_are_found_out_anew(tmp_path: Path) -> None:
    """A probe whose numbers became text would spoil every ledger that repeats it."""
    unit, state = media(tmp_path)
    cache = ProbeCache(tmp_path / "ingest")
    probe = probe_media(Path(state.path), kind="image")
    cache.commit(unit, (state, replace(probe, height="tall")))  # type: ignore[arg-type]
    assert cache.find(unit) is None
