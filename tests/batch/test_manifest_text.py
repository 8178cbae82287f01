import os
import unicodedata

import pytest

from dispose_stages.batch.manifest import read_manifest, rejects_csv
from dispose_stages.batch.manifest_text import as_stored, decode
from dispose_stages.config import Parameters
from dispose_stages.errors import ManifestError

HEADER = "reference_image,driving_video,seed,caption"
ROWS = ["a.png,x.mp4,7,Grüße", "b.png,x.mp4,,"]
TABLE = [("a.png", "x.mp4", 7, "Grüße"), ("b.png", "x.mp4", 42, "")]


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png", "x.mp4"):
        (tmp_path / name).write_text("content")
    return tmp_path


def read(folder, content):
    path = folder / "m.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_manifest(path, Parameters())


def table(found):
    assert found.problems == ()
    return [
        (
            row.reference_image.rpartition("/")[2],
            row.driving_video.rpartition("/")[2],
            row.parameters.seed,
            row.extra["caption"],
        )
        for row in found.rows
    ]


def lines(separator=",", newline="\n", before=(), after=""):
    rows = [line.replace(",", separator) + after for line in (HEADER, *ROWS)]
    return newline.join([*before, *rows, ""])


@pytest.mark.parametrize(
    "text",
    [
        lines(),
        lines(";"),
        lines("\t"),
        lines(";", before=["sep=;"]),
        lines("|", before=["sep=|"]),
        lines("\t", before=['"sep=\t"'], newline="\r\n"),
        lines(";", before=["SEP=;"], newline="\r"),
        lines(after=","),
        lines(";", after=";;;"),
        lines(after=" , ,"),
        lines(newline="\r\n", before=["", ",,"]),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-mark"])
def test_what_spreadsheets_write_is_read(folder, text, encoding):
    """Separators, Excel's first line, trailing empty columns, both encodings with their marks."""
    if encoding == "utf-16-be-mark":
        content = b"\xfe\xff" + text.encode("utf-16-be")
    else:
        content = text.encode(encoding)
    assert table(read(folder, content)) == TABLE


def test_line_numbers_are_the_files_own(folder):
    """The line `sep=` counts."""
    text = "sep=;\nreference_image;driving_video\na.png;x.mp4\nnone.png;x.mp4\n"
    assert [problem.line for problem in read(folder, text).problems] == [4]


def test_empty_cells_beyond_the_header_are_no_cells_and_full_ones_are(folder):
    """Only what says something is too much."""
    text = "reference_image,driving_video\na.png,x.mp4,,,\nb.png,x.mp4,,what\n"
    found = read(folder, text)
    assert [row.line for row in found.rows] == [2]
    assert [problem.reason for problem in found.problems] == ["4 cells, 2 columns"]


@pytest.mark.parametrize("text", ["a;b.png,x.mp4", "a.png,x.mp4,;"])
def test_a_separator_inside_a_cell_separates_nothing(folder, text):
    """The header decides."""
    (folder / "a;b.png").write_text("content")
    found = read(folder, f"reference_image,driving_video,caption\n{text}\n")
    assert len(found.rows) == 1


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (lines().encode("cp1252"), r"line 2: byte 0xfc is not UTF-8.*Windows-1252.*'ü'"),
        (lines().replace("Grüße", "5 €").encode("cp1252"), r"line 2: byte 0x80.*'€'"),
        (lines().replace("Grüße", "Ł").encode("latin2"), r"line 2: byte 0xa3.*8-bit encoding"),
        (lines().encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (lines().encode("utf-16-be"), "UTF-16 without a byte order mark"),
        (lines().encode("utf-32"), "UTF-32"),
        (lines().encode("utf-16")[:-1], "UTF-16 but is damaged"),
        (b"PK\x03\x04\x14\x00\x06\x00", "spreadsheet"),
        (lines().encode() + b"a.png,\x00", "zero bytes"),
    ],
)
def test_what_could_only_be_guessed_is_refused_with_its_cause(folder, content, cause):
    """The message names what the file is, where, and what to do."""
    with pytest.raises(ManifestError, match=cause) as caught:
        read(folder, content)
    assert "save it as CSV in UTF-8" in str(caught.value)
    assert "m.csv" in str(caught.value)


@pytest.mark.parametrize("name", ["é.png", "Ångström.png", "がぎ.png"])
@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_accents_may_be_stored_in_either_form(folder, name, stored, written):
    """A name finds the file that looks the same, in folders too."""
    inner = folder / unicodedata.normalize(stored, "für")
    inner.mkdir()
    path = inner / unicodedata.normalize(stored, name)
    path.write_text("content")
    cell = unicodedata.normalize(written, f"für/{name}")
    found = read(folder, f"reference_image,driving_video\n{cell},x.mp4\n")
    assert [row.reference_image for row in found.rows] == [str(path)]


def test_the_exact_name_comes_first(folder):
    """Where both forms are there, each is its own file."""
    paths = [folder / unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")]
    for path in paths:
        path.write_text("content")
    assert [as_stored(path) for path in paths] == paths


@pytest.mark.parametrize("name", ["ö.png", "none/ö.png", "a.png/ö.png"])
def test_a_file_that_is_not_there_is_named_as_written(folder, name):
    """Looking for another form changes nothing in the message."""
    (problem,) = read(folder, f"reference_image,driving_video\n{name},x.mp4\n").problems
    assert name in problem.reason


@pytest.mark.parametrize(("first", "second"), [("Dance", "dance"), ("a.B", "A.b"), ("x1", "X1")])
def test_ids_that_differ_by_case_only_are_refused(folder, first, second):
    """They would be one video on a file system without case."""
    text = f"reference_image,driving_video,pair_id\na.png,x.mp4,{first}\nb.png,x.mp4,{second}\n"
    found = read(folder, text)
    assert [row.pair_id for row in found.rows] == [first]
    (problem,) = found.problems
    assert problem.reason == f"{second} differs from {first} in line 2 by case only"


@pytest.mark.parametrize("name", ["a\x1b[2J.png", "bell\a.png", "two\nlines.png"])
def test_controls_of_a_manifest_reach_no_table(folder, name):
    """A path with escapes is written out in rejects.csv."""
    found = read(folder, f'reference_image,driving_video\n"{name}",x.mp4\n')
    text = rejects_csv(found.problems)
    assert len(text.splitlines()) == 2
    assert all(letter.isprintable() for letter in text.replace("\n", ""))


def test_decoding_keeps_everything_else():
    """No mark is left, nothing is replaced."""
    assert decode(b"\xef\xbb\xbfa\xc3\xa4") == "aä"
    assert decode("ä漢".encode("utf-16")) == "ä漢"


def pipe(path):
    """Nobody writes into it."""
    os.mkfifo(path)


def loop(path):
    """A link to itself."""
    path.symlink_to(path)


@pytest.mark.parametrize("make", [pipe, loop, os.mkdir])
def test_what_is_no_file_is_refused_at_once(tmp_path, make):
    """No hang; the error names the manifest."""
    make(tmp_path / "m.csv")
    with pytest.raises(ManifestError, match=r"m\.csv"):
        read_manifest(tmp_path / "m.csv", Parameters())
