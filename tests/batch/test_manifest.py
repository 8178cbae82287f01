import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispose_stages.batch.folders import cross_product, self_driven
from dispose_stages.batch.manifest import (
    RowProblem,
    read_manifest,
    rejects_csv,
)
from dispose_stages.batch.manifest_columns import COLUMNS
from dispose_stages.config import Parameters
from dispose_stages.errors import ManifestError


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png", "x.mp4", "y.mp4"):
        (tmp_path / name).write_text("content")
    (tmp_path / "empty.mp4").touch()
    return tmp_path


def read(folder, text, defaults=None):
    path = folder / "m.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_manifest(path, defaults or Parameters())


def problems(folder, text):
    return [(p.line, p.column, p.reason) for p in read(folder, text).problems]


def test_rows_with_defaults_and_overrides(folder):
    """Paths are relative to the manifest; empty cells take the configuration's value."""
    text = "reference_image,driving_video,pair_id,seed,fps\na.png,x.mp4,p,7,\nb.png,y.mp4,,,8.5\n"
    first, second = read(folder, text, Parameters(seed=1, fps=9.0)).rows
    assert first.reference_image == str(folder / "a.png")
    assert (first.pair_id, first.parameters.seed, first.parameters.fps) == ("p", 7, 9.0)
    assert (second.parameters.seed, second.parameters.fps) == (1, 8.5)
    assert second.pair_id.startswith("b_y_")
    assert (first.line, second.line) == (2, 3)


def test_every_column_is_a_parameter_a_row_may_set(folder):
    """All documented overrides are known, booleans and choices included."""
    wanted = {
        *("seed", "resolution", "sample_stride", "start_frame", "max_frames", "tile_size"),
        *("tile_overlap", "num_inference_steps", "guidance_min", "guidance_max"),
        *("noise_aug_strength", "fps", "decode_chunk_size", "decode_context"),
        *(
            "motion_guidance",
            "correspondence_guidance",
            "compat",
            "align",
            "interpolate",
            "control_scale",
            "motion_bucket_id",
            "condition_fps",
            "pair_id",
            "reference_image",
            "driving_video",
        ),
        *("reference_frame", "truth_video", "reference_person", "driver_person"),
    }
    assert wanted == set(COLUMNS)
    text = (
        "reference_image,driving_video,motion_guidance,compat,max_frames\n"
        "a.png,x.mp4,off,corrected,12\n"
    )
    (row,) = read(folder, text).rows
    assert row.parameters.motion_guidance is False
    assert (row.parameters.compat, row.parameters.max_frames) == ("corrected", 12)


def test_all_problems_of_all_rows_are_listed_at_once(folder):
    """Each bad cell has its line, column and reason; good rows stay."""
    text = (
        "reference_image,driving_video,pair_id,seed,tile_size,tile_overlap\n"
        "none.png,empty.mp4,p1,minus,,\n"
        "a.png,x.mp4,p2,1,,\n"
        ",x.mp4,p3,,,\n"
        "a.png,x.mp4,p2,2,,\n"
        "a.png,x.mp4,../p,,,\n"
        "a.png,x.mp4,p6,,4,4\n"
        "a.png,x.mp4,p7,,,,extra\n"
        ".,x.mp4,p8,,,\n"
    )
    found = problems(folder, text)
    assert [(line, column) for line, column, _ in found] == [
        (2, "driving_video"),
        (2, "reference_image"),
        (2, "seed"),
        (4, "reference_image"),
        (5, "pair_id"),
        (6, "pair_id"),
        (7, "tile_overlap"),
        (8, ""),
        (9, "reference_image"),
    ]
    reasons = [reason for *_, reason in found]
    words = ["empty", "no such file", "integer", "is empty", "duplicate of line 3"]
    words += ["cannot be a file name", "less than tile_size", "7 cells", "not a file"]
    for word, reason in zip(words, reasons, strict=True):
        assert word in reason
    assert [row.pair_id for row in read(folder, text).rows] == ["p2"]


def test_equal_rows_without_ids_are_told_apart_from_repeated_ids(folder):
    """The reason says that the content repeats."""
    text = "reference_image,driving_video\na.png,x.mp4\na.png,x.mp4\n"
    ((line, column, reason),) = problems(folder, text)
    assert (line, column) == (3, "pair_id")
    assert "same content as line 2" in reason


def test_derived_ids_do_not_depend_on_the_place_in_the_file(folder):
    """Moving rows around renames no pair."""
    head = "reference_image,driving_video,seed\n"
    rows = ["a.png,x.mp4,1\n", "a.png,x.mp4,2\n", "b.png,x.mp4,\n"]
    one = {r.pair_id for r in read(folder, head + "".join(rows)).rows}
    two = {r.pair_id for r in read(folder, head + "\n".join(reversed(rows))).rows}
    assert one == two
    assert len(one) == 3


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("reference_image\na.png\n", "'driving_video' is missing"),
        ("reference_image,driving_video,sede\n", "'sede', did you mean 'seed'.*columns: .*seed"),
        ("reference_image,driving_video,Seed\n", "'Seed', did you mean 'seed'"),
        ("reference_image,driving_video,max frame\n", "did you mean 'max_frames'"),
        ("reference_image,driving_video,pair-id\n", "did you mean 'pair_id'"),
        ("reference_image,driving_video,motion_guidence\n", "did you mean 'motion_guidance'"),
        ("refrence_image,driving_video\n", "did you mean 'reference_image'.*is missing"),
        ("reference_image,,driving_video\n", "column 2 has no name"),
        ("reference_image,driving_video,tags,tags\n", "'tags' appears twice"),
        ("reference_image,driving_video,seed,seed\n", "'seed' appears twice"),
        (b"reference_image,driving_video\n\xff\xfe,x\n", "UTF-8"),
        ('reference_image,driving_video\n"a.png,x.mp4\n', "not valid CSV"),
    ],
)
def test_a_file_that_is_unusable_as_a_whole_is_one_error(folder, text, match):
    """It names the file and what is wrong with its header or format."""
    with pytest.raises(ManifestError, match=match) as caught:
        read(folder, text)
    assert "m.csv" in str(caught.value)


def test_other_columns_are_carried_along_and_decide_nothing(folder):
    """Names of one's own are no misspellings; ids of rows are those of the known columns."""
    own = ("caption", "split", "licence", "consent", "source_url", "tags", "sample_id", "speaker")
    head = "reference_image,driving_video,seed"
    (plain,) = read(folder, f"{head}\na.png,x.mp4,3\n").rows
    text = f"{','.join(own)},{head}\n{','.join(name.upper() for name in own)},a.png,x.mp4,3\n"
    (row,) = read(folder, text).rows
    assert row.extra == {name: name.upper() for name in own}
    assert row.pair_id == plain.pair_id
    assert plain.pair_id == "a_x_48805bca"
    assert plain.extra == {}
    text = f"{head},caption\na.png,x.mp4,3,one\na.png,x.mp4,3,two\n"
    assert "same content as line 2" in problems(folder, text)[0][2]
    (short,) = read(folder, f"{head},caption,tags\na.png,x.mp4,3,one\n").rows
    assert short.extra == {"caption": "one", "tags": ""}


def test_absent_manifest(tmp_path):
    """The path is named."""
    with pytest.raises(ManifestError, match=r"no manifest at .*none\.csv"):
        read_manifest(tmp_path / "none.csv", Parameters())


@pytest.mark.parametrize("prefix", ["", "\ufeff"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_files_of_other_programs_are_read(folder, prefix, newline):
    """Byte-order mark, Windows line ends, blank lines, spaces and quotes do no harm."""
    lines = ["reference_image, driving_video", "", ' a.png ,"x.mp4"', ",", ""]
    found = read(folder, prefix + newline.join(lines))
    assert [row.line for row in found.rows] == [3]
    assert found.problems == ()


def test_a_short_row_lacks_its_cells(folder):
    """Missing required cells are named."""
    ((_, column, reason),) = problems(folder, "reference_image,driving_video\na.png\n")
    assert (column, reason) == ("driving_video", "is empty")


def test_a_header_without_rows_gives_an_empty_manifest(folder):
    """Whether that is an error is for the caller to say."""
    assert read(folder, "reference_image,driving_video\n").rows == ()


def test_each_file_is_looked_at_once(folder, monkeypatch):
    """A manifest of thousands of rows over few files stats few files."""
    looked = []
    from dispose_stages.batch import manifest

    original = manifest._MediaCheck._look
    spy = staticmethod(lambda path: looked.append(path) or original(path))
    monkeypatch.setattr(manifest._MediaCheck, "_look", spy)
    rows = "".join(f"a.png,x.mp4,{n}\n" for n in range(100))
    read(folder, "reference_image,driving_video,seed\n" + rows)
    assert len(looked) == 2


def test_rejects_csv_is_csv():
    """Reasons with commas and quotes survive."""
    problem = RowProblem(3, "seed", 'a "b", c', "p,1", "/x")
    rows = list(csv.DictReader(io.StringIO(rejects_csv([problem]))))
    (row,) = rows
    assert list(row.values()) == ["3", "p,1", "seed", "/x", 'a "b", c']


def test_cross_product_reads_back_as_all_pairs(tmp_path):
    """Every image with every video, in order, names with commas included; others are ignored."""
    images, videos = tmp_path / "images", tmp_path / "videos"
    for file in (images / "a,1.PNG", images / "b.jpg", videos / "v.mp4", videos / "w.mov"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("content")
    (images / "notes.txt").write_text("content")
    text = cross_product(images, videos, tmp_path)
    found = read(tmp_path, text)
    assert found.problems == ()
    pairs = [(r.reference_image, r.driving_video) for r in found.rows]
    assert pairs == [
        (str(images / i), str(videos / v)) for i in ("a,1.PNG", "b.jpg") for v in ("v.mp4", "w.mov")
    ]
    assert str(tmp_path) not in text


@pytest.mark.parametrize("missing", ["images", "videos"])
def test_cross_product_needs_two_folders_with_media(tmp_path, missing):
    """An absent or empty folder is an error that names it."""
    for name in ("images", "videos"):
        (tmp_path / name).mkdir()
    (tmp_path / "images" / "a.png").touch()
    (tmp_path / "videos" / "v.mp4").touch()
    next((tmp_path / missing).iterdir()).unlink()
    with pytest.raises(ManifestError, match=missing):
        cross_product(tmp_path / "images", tmp_path / "videos", tmp_path)
    (tmp_path / missing).rmdir()
    with pytest.raises(ManifestError, match="no such folder"):
        cross_product(tmp_path / "images", tmp_path / "videos", tmp_path)


def test_a_file_may_begin_with_a_tilde(folder):
    """A tilde stands for a home folder only where there is such a user."""
    (folder / "~0.png").write_text("content")
    (row,) = read(folder, "reference_image,driving_video\n~0.png,x.mp4\n").rows
    assert row.reference_image == str(folder / "~0.png")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=200))
def test_no_text_makes_the_reader_crash(tmp_path, text):
    """Whatever the file holds, the outcome is rows, problems or one ManifestError."""
    path = tmp_path / "fuzz.csv"
    path.write_text("reference_image,driving_video,seed\n" + text, "utf-8", "surrogatepass")
    try:
        found = read_manifest(path, Parameters())
    except ManifestError:
        return
    assert found.rows == ()


@pytest.mark.parametrize("cell", ["media/a.png", "./media/a.png", "{folder}/media/a.png"])
def test_media_below_the_working_directory_are_known_from_there(folder, monkeypatch, cell):
    """However the row names them, so that the project may move."""
    (folder / "media").mkdir()
    (folder / "a.png").rename(folder / "media/a.png")
    monkeypatch.chdir(folder)
    text = f"reference_image,driving_video\n{cell.format(folder=folder)},x.mp4\n"
    (row,) = read(folder, text).rows
    assert row.reference_image == "media/a.png"


def test_media_elsewhere_keep_their_whole_path(folder, monkeypatch, tmp_path_factory):
    """The project may move, they do not."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    (row,) = read(folder, "reference_image,driving_video\na.png,x.mp4\n").rows
    assert row.reference_image == str(folder / "a.png")


def test_a_frame_of_the_driver_may_be_the_reference(folder):
    """One file is enough; an image beside it, or a number that is none, sets the row aside."""
    text = (
        "driving_video,reference_frame,reference_image,truth_video\n"
        "x.mp4,12,,\nx.mp4,0,a.png,\nx.mp4,-1,,\nx.mp4,,,\nx.mp4,1,,gone.mp4\nx.mp4,,a.png,x.mp4\n"
    )
    found = read(folder, text)
    video = str(folder / "x.mp4")
    first, last = found.rows
    assert (first.reference_image, first.reference_frame) == (video, 12)
    assert (last.reference_frame, last.truth_video) == (None, video)
    assert [(p.line, p.column) for p in found.problems] == [
        (3, "reference_frame"),
        (4, "reference_frame"),
        (5, "reference_image"),
        (6, "truth_video"),
    ]


def test_a_truth_names_no_other_video(folder):
    """Adding one to a manifest keeps the ids of its pairs; a reference frame does not."""
    plain = read(folder, "reference_image,driving_video\na.png,x.mp4\n").rows[0]
    scored = read(folder, "reference_image,driving_video,truth_video\na.png,x.mp4,x.mp4\n").rows[0]
    assert scored.pair_id == plain.pair_id
    frames = read(folder, "driving_video,reference_frame\nx.mp4,0\nx.mp4,1\n").rows
    assert frames[0].pair_id != frames[1].pair_id


def test_self_driven_videos_read_back(tmp_path):
    """Every video of a folder, its reference the frame that was asked for."""
    (tmp_path / "videos").mkdir()
    for name in ("b.mp4", "a.mov", "notes.txt"):
        (tmp_path / "videos" / name).write_bytes(b"x")
    (tmp_path / "m.csv").write_text(self_driven(tmp_path / "videos", tmp_path, reference_frame=3))
    rows = read_manifest(tmp_path / "m.csv", Parameters()).rows
    assert [Path(row.driving_video).name for row in rows] == ["a.mov", "b.mp4"]
    assert {row.reference_frame for row in rows} == {3}


@pytest.mark.parametrize("digits", [19, 30, 5000])
@pytest.mark.parametrize("column", ["reference_frame", "start_frame", "max_frames"])
def test_a_number_that_no_table_can_hold_sets_its_row_aside(folder, column, digits):
    """One such cell would keep the index of all other rows from being written."""
    given = "reference_image," if column != "reference_frame" else ""
    cell = "a.png," if given else ""
    found = read(folder, f"{given}driving_video,{column}\n{cell}x.mp4,{'9' * digits}\n")
    assert [problem.column for problem in found.problems] == [column]
    assert not found.rows
