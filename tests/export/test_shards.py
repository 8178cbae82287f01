from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest

from dispose_stages.export import shards
from dispose_stages.export.shards import hashed_file


def test_the_digest_is_that_of_the_file(tmp_path, monkeypatch):
    """Whatever the blocks: small and large, and memory that is used again after the call."""
    monkeypatch.setattr(shards, "_BLOCK", 1000)
    monkeypatch.setattr(shards, "_FLUSH", 3000)
    rng = np.random.default_rng(0)
    reused, path = bytearray(700), tmp_path / "deep" / "a.tar"
    with hashed_file(path) as output:
        for size in rng.integers(1, 2500, 60).tolist():
            output.write(rng.bytes(size))
            reused[:] = rng.bytes(700)
            output.write(memoryview(reused))
            reused[:] = bytes(700)
        assert output.tell() > 60_000
        assert not path.exists()
    content = path.read_bytes()
    assert output.facts == (hashlib.sha256(content).hexdigest(), len(content))
    assert [path.name for path in path.parent.iterdir()] == ["a.tar"]


def test_a_disk_that_fails_on_the_way_leaves_no_file(tmp_path, monkeypatch):
    """It says so once, perhaps long before the end."""
    monkeypatch.setattr(shards, "_BLOCK", 1000)
    monkeypatch.setattr(shards, "_FLUSH", 1000)

    def failing(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", failing)
    with pytest.raises(OSError, match="Input/output"), hashed_file(tmp_path / "a.tar") as output:
        output.write(bytes(1500))
    assert not list(tmp_path.iterdir())
