from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dispose_stages.errors import Reason, UnitError
from dispose_stages.store.decoding.limits import SizeLimits
from dispose_stages.store.media import probe_media, read_still
from dispose_stages.store.video import VideoReader
from tests.store.clips import HEIGHT, WIDTH, facts_of, number_of, run_ffmpeg, write_clip

DEFAULT_SIZES = SizeLimits()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty numbered frames at 30 fps."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", 60)


def numbers(path: Path, indices: list[int]) -> list[int]:
    """Numbers shown by the frames at some indices."""
    with VideoReader(path) as reader:
        return [number_of(frame) for _, frame in reader.frames(indices)]


def failure(path: Path, sizes: SizeLimits = DEFAULT_SIZES) -> Reason:
    """The reason for which a video cannot be read to its end."""
    with pytest.raises(UnitError) as caught, VideoReader(path, sizes=sizes) as reader:
        for _ in reader.frames(range(reader.frame_count)):
            pass
    return caught.value.reason


def test_facts_of_a_clip(clip: Path) -> None:
    """Size, frame rate and count are the file's."""
    with VideoReader(clip) as reader:
        assert (reader.height, reader.width) == (HEIGHT, WIDTH)
        assert (reader.frame_count, reader.fps, reader.facts.rotation) == (60, 30.0, 0)
        index, frame = next(iter(reader.frames([7])))
    assert index == 7
    assert frame.dtype == np.uint8
    assert frame.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    "indices",
    [list(range(60)), list(range(0, 60, 2)), list(range(5, 60, 7)), [59], [], [3, 3, 0, 0, 59, 1]],
    ids=["all", "strided", "offset", "last", "none", "unordered"],
)
def test_frames_are_the_ones_asked_for(clip: Path, indices: list[int]) -> None:
    """Whatever the order, a frame shows the number of its index."""
    assert numbers(clip, indices) == indices


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("open_gop.mp4", ["-c:v", "libx264", "-x264-params", "open-gop=1:keyint=12:bframes=3"]),
        ("b_frames.avi", ["-c:v", "mpeg4", "-g", "12", "-bf", "2", "-q:v", "3"]),
        ("vp9.webm", ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-crf", "30", "-b:v", "0"]),
        ("hevc.mp4", ["-c:v", "libx265", "-x265-params", "log-level=none:keyint=12"]),
        ("mjpeg.avi", ["-c:v", "mjpeg", "-q:v", "3"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_frames_are_right_for_every_codec(
    clip: Path, tmp_path: Path, name: str, options: list[str]
) -> None:
    """Strided reading is exact where seeking would miss (open groups of pictures, B-frames)."""
    path = tmp_path / name
    run_ffmpeg("-i", clip, "-vf", "format=yuv420p", *options, path)
    for stride in (1, 2, 3, 7):
        assert numbers(path, list(range(0, 60, stride))) == list(range(0, 60, stride))
    assert numbers(path, [41]) == [41]
    assert numbers(path, [12, 24, 47]) == [12, 24, 47]


def test_a_frame_is_the_callers_own(clip: Path) -> None:
    """Painting on a frame does not change what is read next."""
    with VideoReader(clip) as reader:
        for index in (0, 5):
            (_, first), (_, second) = reader.frames([index, index])
            first[:] = 0
            assert number_of(second) == index


@pytest.mark.parametrize(("degrees", "clockwise"), [(90, 270), (-90, 90), (180, 180), (0, 0)])
def test_rotated_clips_are_upright(
    clip: Path, tmp_path: Path, degrees: int, clockwise: int
) -> None:
    """A phone's rotation is applied to pixels and size, as ffmpeg's own player would."""
    path = tmp_path / "rotated.mp4"
    run_ffmpeg("-display_rotation", degrees, "-i", clip, "-c", "copy", path)
    with VideoReader(clip) as reader, VideoReader(path) as rotated:
        assert rotated.facts.rotation == clockwise
        (_, stored), (_, upright) = next(reader.frames([9])), next(rotated.frames([9]))
        assert (rotated.height, rotated.width) == upright.shape[:2]
    np.testing.assert_array_equal(upright, np.rot90(stored, k=-clockwise // 90))


def test_one_frame(tmp_path: Path) -> None:
    """A video of one frame is a video."""
    path = write_clip(tmp_path / "one.mp4", 1)
    assert numbers(path, [0]) == [0]
    assert probe_media(path, kind="video").frames == 1


def test_variable_frame_rate(clip: Path, tmp_path: Path) -> None:
    """Frames are numbered as they are shown; the rate is the average."""
    path = tmp_path / "vfr.mp4"
    select = "select='lt(n,20)+not(mod(n,4))'"
    run_ffmpeg("-i", clip, "-vf", select, "-fps_mode", "vfr", path)
    with VideoReader(path) as reader:
        assert reader.frame_count == 30
        assert reader.fps < 20
    assert numbers(path, list(range(30))) == [*range(20), *range(20, 60, 4)]


def test_indices_outside_are_an_error(clip: Path) -> None:
    """Asking for what is not there is the caller's defect."""
    with VideoReader(clip) as reader:
        for index in (-1, 60):
            with pytest.raises(IndexError, match=f"frame {index} of 60"):
                next(reader.frames([index]))


def test_hostile_files_have_typed_reasons(clip: Path, tmp_path: Path) -> None:
    """Absent, empty, random, silent, truncated and foreign files: each its reason."""
    path = tmp_path / "x.mp4"
    assert failure(path) is Reason.MEDIA_MISSING
    assert failure(tmp_path) is Reason.MEDIA_UNREADABLE
    path.write_bytes(b"")
    assert failure(path) is Reason.MEDIA_EMPTY
    path.write_bytes(np.random.default_rng(0).bytes(30_000))
    assert failure(path) is Reason.MEDIA_UNREADABLE
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", path)
    assert failure(path) is Reason.MEDIA_UNSUPPORTED
    content = clip.read_bytes()  # its index lies in front, so it opens, and ends early
    path.write_bytes(content[: len(content) // 2])
    assert failure(path) is Reason.MEDIA_UNREADABLE
    assert failure(clip, SizeLimits(dimension=95)) is Reason.MEDIA_TOO_LARGE
    assert failure(clip, SizeLimits(pixels=6143)) is Reason.MEDIA_TOO_LARGE
    path.write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")
    assert failure(path) in {Reason.MEDIA_UNREADABLE, Reason.MEDIA_UNSUPPORTED}
    text = tmp_path / "x.txt"
    text.write_text("a text that ffmpeg would show as a film\n" * 50)
    assert failure(text) is Reason.MEDIA_UNREADABLE


def test_damage_inside_never_escapes(clip: Path, tmp_path: Path) -> None:
    """Flipped bytes give frames or a typed error, never another exception."""
    rng = np.random.default_rng(7)
    content = np.frombuffer(clip.read_bytes(), np.uint8)
    path = tmp_path / "damaged.mp4"
    for _ in range(12):
        damaged = content.copy()
        damaged[rng.integers(0, len(damaged), size=40)] = rng.integers(0, 256, size=40)
        path.write_bytes(damaged.tobytes())
        try:
            with VideoReader(path) as reader:
                for _, frame in reader.frames(range(reader.frame_count)):
                    assert frame.shape == (reader.height, reader.width, 3)
        except UnitError as error:
            typed = error.reason == Reason.NO_FRAMES or error.reason.startswith("media_")
            assert typed


def test_names_are_never_options_or_protocols(clip: Path, tmp_path: Path, monkeypatch) -> None:
    """Odd file names are file names."""
    monkeypatch.chdir(tmp_path)
    for name in ("-i.mp4", "concat:a|b.mp4", "a%03d 'x' é\n.mp4", "http:x.mp4"):
        Path(name).write_bytes(clip.read_bytes())
        assert numbers(Path(name), [2]) == [2]


def test_header(clip: Path) -> None:
    """Codec, size and sound are known without reading frames."""
    facts = facts_of(clip)
    assert (facts.codec, facts.height, facts.width) == ("h264", HEIGHT, WIDTH)
    assert "mp4" in facts.container.split(",")
    assert (facts.audio_codec, facts.reader, facts.ordinary) == ("", "decord", True)


def test_import_is_cheap() -> None:
    """Decoders are loaded in a process of their own."""
    code = (
        "import sys, dispose_stages.store.video, dispose_stages.store.media\n"
        "assert not {'av', 'decord', 'PIL', 'torch'} & set(sys.modules), sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_still_is_an_image_or_a_frame(clip: Path, tmp_path: Path) -> None:
    """A frame by its number, as the video shows it; one beyond the end is named."""
    Image.fromarray(np.full((4, 6, 3), 9, np.uint8)).save(tmp_path / "i.png")
    assert (read_still(tmp_path / "i.png") == 9).all()
    assert number_of(read_still(clip, 37)) == 37
    with pytest.raises(UnitError, match="no frame 60, it has 60") as caught:
        read_still(clip, 60)
    assert caught.value.reason is Reason.NO_FRAMES
