import os
import stat

import pytest

from dispose_stages.atomic import (
    canonical_json,
    readable_json,
    replacing,
    temporary_name,
    write_bytes,
    write_text,
    write_text_if_changed,
)


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    """While it is written, and after a failure, the old content stands and nothing is left."""
    path = tmp_path / "deep" / "file"
    write_bytes(path, b"old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_bytes(b"ne")
            assert path.read_bytes() == b"old"
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_nothing_is_committed_that_was_not_written(tmp_path):
    """A block that writes no file is an error, and the old file stays."""
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == "old"


def test_permissions_follow_the_umask(tmp_path):
    """Files of a shared store are as readable as any other file."""
    old = os.umask(0o027)
    try:
        write_bytes(tmp_path / "file", b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_temporary_names_are_hidden_distinct_and_beside_the_file(tmp_path):
    """Renaming stays within one directory, hence one file system."""
    names = {temporary_name(tmp_path / "a.json") for _ in range(100)}
    assert len(names) == 100
    assert all(n.parent == tmp_path and n.name.startswith(".a.json.") for n in names)


@pytest.mark.parametrize("text", ["plain\n", "Grüße ✓", "carriage\r\nreturn", ""])
def test_unchanged_text_is_not_written_again(tmp_path, text):
    """The modification time stays, whatever the content."""
    path = tmp_path / "file"
    assert write_text_if_changed(path, text)
    os.utime(path, ns=(1, 1))
    assert not write_text_if_changed(path, text)
    assert path.stat().st_mtime_ns == 1
    assert write_text_if_changed(path, text + "x")
    assert path.read_bytes() == (text + "x").encode()


def test_text_that_is_not_utf8_is_replaced(tmp_path):
    """A damaged file is simply another content."""
    path = tmp_path / "file"
    path.write_bytes(b"\xff\xfe")
    assert write_text_if_changed(path, "new")


@pytest.mark.parametrize("write", [canonical_json, readable_json])
def test_equal_values_give_equal_json(write):
    """Order of insertion does not matter, and what JSON cannot say is refused."""
    assert write({"b": 1, "a": [1.5, None]}) == write({"a": [1.5, None], "b": 1})
    with pytest.raises(ValueError, match="JSON"):
        write({"a": float("nan")})


def test_write_text_is_utf8_whatever_the_locale(tmp_path):
    """Names of people and files survive."""
    write_text(tmp_path / "x", "Ünïcode")
    assert (tmp_path / "x").read_bytes() == "Ünïcode".encode()
