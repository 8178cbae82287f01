"""Videos are read as a player shows them, whatever the container says."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from dispose_stages.errors import Reason, UnitError
from dispose_stages.store.decoding.limits import SizeLimits
from dispose_stages.store.decoding.readers import OpenVideo
from dispose_stages.store.ffmpeg import ffmpeg_binary
from dispose_stages.store.media import MediaProbe, damage_of, probe_media
from dispose_stages.store.video import VideoReader
from tests.store.clips import HEIGHT, WIDTH, facts_of, number_of, run_ffmpeg, write_clip

FRAMES = 40


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty numbered frames at 20 fps."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", FRAMES, fps=20.0)


def shown(path: Path, reader: str = "auto") -> list[int]:
    """Numbers that all frames show."""
    with VideoReader(path, reader=reader) as video:
        return [number_of(frame) for _, frame in video.frames(range(video.frame_count))]


def shown_by_ffmpeg(path: Path) -> np.ndarray:
    """The frames as ffmpeg's own player would show them, square pixels not counted."""
    command = [ffmpeg_binary(), "-v", "error", "-i", path, "-fps_mode", "passthrough"]
    command += ["-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    facts = facts_of(path)
    return np.frombuffer(raw, np.uint8).reshape(-1, facts.height, facts.width, 3)


FORMATS = {
    "av1.mp4": ["-c:v", "libsvtav1", "-preset", "12", "-crf", "20"],
    "av1.mkv": ["-c:v", "libaom-av1", "-cpu-used", "8", "-crf", "20"],
    "loop.gif": ["-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse"],
    "live.webm": ["-c:v", "libvpx", "-b:v", "2M", "-live", "1", "-f", "webm"],
    "late.ts": ["-output_ts_offset", "100", "-bf", "2"],
    "b_frames.mpg": ["-c:v", "mpeg2video", "-bf", "2", "-q:v", "2", "-r", "25"],
    "b_frames.avi": ["-c:v", "mpeg4", "-bf", "2", "-q:v", "2"],
    "altref.webm": ["-c:v", "libvpx", "-b:v", "1M", "-auto-alt-ref", "1", "-lag-in-frames", "16"],
    "theora.ogv": ["-c:v", "libtheora", "-q:v", "9"],
    "fragments.mp4": ["-movflags", "frag_keyframe+empty_moov", "-g", "7"],
    "ten_bits.mkv": ["-c:v", "libx265", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p10"],
    "prores.mov": ["-c:v", "prores_ks"],
}


def encoded(clip: Path, path: Path) -> Path:
    """The clip in another format; written to a pipe where it is live, so that nothing goes back."""
    options = FORMATS[path.name]
    formats = [] if path.suffix == ".gif" or "-pix_fmt" in options else ["-pix_fmt", "yuv420p"]
    if "-live" in options:
        command = [ffmpeg_binary(), "-v", "error", "-i", clip, *options, *formats, "-"]
        path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    else:
        run_ffmpeg("-i", clip, *formats, *options, path)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_every_usual_format_plays(clip: Path, tmp_path: Path, name: str) -> None:
    """All frames in order, by whichever reader; the probe finds nothing wrong."""
    path = encoded(clip, tmp_path / name)
    probe = probe_media(path, kind="video")
    expected = [number_of(frame) for frame in shown_by_ffmpeg(path)]
    assert shown(path) == shown(path, "av") == expected
    assert sorted(set(expected)) == list(range(FRAMES))
    assert (probe.frames, probe.missing_frames, probe.damaged_frames) == (len(expected), 0, 0)
    assert probe.fps == pytest.approx(25 if name.endswith("mpg") else 20, rel=0.03)
    assert (probe.variable_rate, probe.start_seconds) == (False, 0)


def test_decord_reads_ordinary_files_only(clip: Path, tmp_path: Path) -> None:
    """And is not needed for any."""
    assert probe_media(clip).reader == "decord"
    assert probe_media(encoded(clip, tmp_path / "late.ts")).reader == "av"
    code = (
        "import sys; sys.modules['decord'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "from dispose_stages.store.decoding import readers\n"
        "readers.find_spec = lambda name: None if name == 'decord' else find(name)\n"
        "from dispose_stages.store.decoding.limits import SizeLimits\n"
        f"video = readers.OpenVideo({str(clip)!r}, 'auto', SizeLimits())\n"
        "assert video.facts.reader == 'av' and video.facts.ordinary\n"
        f"assert len(list(video.read(range({FRAMES})))) == {FRAMES}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


PIXELS = {
    "420.mp4": ["-pix_fmt", "yuv420p"],
    "422.mp4": ["-pix_fmt", "yuv422p"],
    "444.mp4": ["-pix_fmt", "yuv444p"],
    "bt601.mp4": ["-vf", "scale=out_color_matrix=bt601,setparams=colorspace=smpte170m"],
    "full.mp4": ["-vf", "scale=out_range=pc", "-color_range", "pc", "-pix_fmt", "yuv420p"],
    "rgb.mkv": ["-c:v", "ffv1", "-pix_fmt", "bgr0"],
    "grey.mp4": ["-pix_fmt", "gray"],
    "fields.mp4": ["-flags", "+ildct+ilme", "-x264opts", "tff=1", "-pix_fmt", "yuv420p"],
    "jpeg.avi": ["-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj420p"],
    "turned.mp4": ["-pix_fmt", "yuv420p"],
}


@pytest.mark.parametrize("name", PIXELS)
def test_both_libraries_give_the_same_pixels(tmp_path: Path, name: str) -> None:
    """To the bit, on ordinary files."""
    path = tmp_path / name
    source = ("-f", "lavfi", "-i", "testsrc2=size=160x96:rate=10:duration=0.5")
    if name == "turned.mp4":
        run_ffmpeg(*source, *PIXELS[name], tmp_path / "lying.mp4")
        run_ffmpeg("-display_rotation", 90, "-i", tmp_path / "lying.mp4", "-c", "copy", path)
    else:
        run_ffmpeg(*source, *PIXELS[name], path)
    with VideoReader(path) as one, VideoReader(path, reader="av") as other:
        assert (one.facts.reader, other.facts.reader) == ("decord", "av")
        for (_, theirs), (_, ours) in zip(
            one.frames(range(5)), other.frames(range(5)), strict=True
        ):
            np.testing.assert_array_equal(theirs, ours)


def test_frames_that_are_cut_away_are_not_shown(clip: Path, tmp_path: Path) -> None:
    """Edit lists: cut at the front without re-encoding, at the end, and at both."""
    long = tmp_path / "long.mp4"
    run_ffmpeg("-i", clip, "-c:v", "libx264", "-g", "100", "-bf", "0", long)
    front = tmp_path / "front.mp4"
    run_ffmpeg("-ss", "1.35", "-i", long, "-c", "copy", front)
    content = bytearray(long.read_bytes())
    entry = content.index(b"elst") + 12
    content[entry : entry + 4] = struct.pack(">I", 650)
    end = tmp_path / "end.mp4"
    end.write_bytes(content)
    content[entry : entry + 8] = struct.pack(">II", 500, 15 * 512)
    both = tmp_path / "both.mp4"
    both.write_bytes(content)
    for path, expected in ((front, range(27, 40)), (end, range(13)), (both, None)):
        numbers = shown(path)
        assert numbers == [number_of(frame) for frame in shown_by_ffmpeg(path)]
        assert expected is None or numbers == list(expected)
        probe = probe_media(path)
        assert probe.frames == len(numbers) < FRAMES
        assert probe.hidden_frames == FRAMES - len(numbers)
        assert (probe.missing_frames, probe.reader) == (0, "av")


ORIENTATIONS = {
    "mirrored": ["-display_hflip"],
    "upside_down": ["-display_vflip"],
    "turned": ["-display_rotation", "90"],
    "turned_and_mirrored": ["-display_rotation", "90", "-display_hflip"],
    "turned_back_and_flipped": ["-display_rotation", "-90", "-display_vflip"],
    "half_turned_and_mirrored": ["-display_rotation", "180", "-display_hflip"],
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_orientation_is_that_of_players(clip: Path, tmp_path: Path, name: str) -> None:
    """Rotation and mirroring, alone and together, as ffmpeg shows them."""
    path = tmp_path / f"{name}.mp4"
    run_ffmpeg(*ORIENTATIONS[name], "-i", clip, "-c", "copy", path)
    expected = shown_by_ffmpeg(path)
    with VideoReader(path) as video:
        ((_, frame),) = video.frames([11])
        assert video.facts.mirrored == (name != "turned")
    difference = np.abs(frame.astype(int) - expected[11])
    assert difference.mean() < 2  # ffmpeg turns before it converts colours


@pytest.mark.parametrize(
    ("aspect", "turned", "size"),
    [("2/1", False, (64, 192)), ("1/2", False, (128, 96)), ("4/3", False, (64, 128)),
     ("2/1", True, (192, 64)), ("200/201", False, (64, 96))],
)  # fmt: skip
def test_pixels_that_are_not_square(
    clip: Path, tmp_path: Path, aspect: str, turned: bool, size: tuple[int, int]
) -> None:
    """The side that is too short grows, before the picture is turned."""
    path = tmp_path / "aspect.mp4"
    options = ["-vf", f"setsar={aspect}", "-pix_fmt", "yuv420p"]
    run_ffmpeg("-i", clip, *options, path)
    if turned:
        lying = path.rename(tmp_path / "lying.mp4")
        run_ffmpeg("-display_rotation", 90, "-i", lying, "-c", "copy", path)
    probe = probe_media(path)
    assert (probe.height, probe.width) == size
    with VideoReader(path) as video:
        ((_, frame),) = video.frames([21])
        upright = np.rot90(frame, -1) if turned else frame
        assert frame.shape == (*size, 3)
        rows, columns = upright.shape[0] // HEIGHT, upright.shape[1] // WIDTH
        if "3" not in aspect:
            assert number_of(upright[::rows, ::columns]) == 21
    assert probe.ordinary == (size == (64, 96))


@pytest.fixture(scope="module")
def varying(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The clip without some of its frames: half of it thinned out, some dropped, a long pause."""
    folder = tmp_path_factory.mktemp("varying")
    kept = {
        "thinned": "lt(n,20)+not(mod(n,4))",
        "dropped": "not(between(n,5,8)+eq(n,30))",
        "pause": "lt(n,10)+gte(n,35)",
    }
    paths = {}
    for name, select in kept.items():
        for suffix in (".mp4", ".mkv"):
            paths[name + suffix] = folder / (name + suffix)
            run_ffmpeg("-i", clip, "-vf", f"select='{select}'", "-fps_mode", "vfr",
                       "-pix_fmt", "yuv420p", paths[name + suffix])  # fmt: skip
    return paths


@pytest.mark.parametrize("name", ["thinned.mp4", "dropped.mp4", "pause.mp4", "thinned.mkv"])
def test_a_varying_rate_keeps_its_pace(varying: dict[str, Path], name: str) -> None:
    """What is read is near what the whole clip shows at that time."""
    with VideoReader(varying[name]) as video:
        assert video.facts.variable_rate
        for stride, start in ((1, 0), (2, 0), (3, 4)):
            indices = video.sampled(stride, start)
            assert indices[0] == start
            times = video.times[start] + np.arange(len(indices)) * stride / video.fps
            numbers = np.array([number_of(frame) for _, frame in video.frames(indices)])
            gaps = np.diff(video.times).max() / 2
            assert np.abs(numbers / 20 - times).max() <= gaps + 0.001
            assert times[-1] <= video.times[-1] + 0.5 / video.fps
        assert video.sampled(2, 0, 3) == video.sampled(2)[:3]


def test_a_constant_rate_counts(clip: Path, tmp_path: Path) -> None:
    """Also where a container rounds its stamps, and where the first frame is late."""
    rounded, shifted = tmp_path / "rounded.mkv", tmp_path / "shifted.ts"
    run_ffmpeg("-i", clip, "-r", "29.97", "-pix_fmt", "yuv420p", rounded)
    run_ffmpeg("-i", clip, "-output_ts_offset", "7", shifted)
    for path in (clip, rounded, shifted):
        with VideoReader(path) as video:
            assert not video.facts.variable_rate
            assert video.sampled(2, 3) == list(range(3, video.frame_count, 2))


def damaged(probe: MediaProbe) -> tuple[int, int]:
    """Frames that are missing and the first of them."""
    return probe.missing_frames, probe.first_missing


def message_of(path: Path, stride: int = 1, limit: int | None = None) -> str:
    """What is said of a video that cannot be read to its end."""
    with pytest.raises(UnitError) as caught, VideoReader(path) as video:
        for _ in video.frames(video.sampled(stride, 0, limit)):
            pass
    assert caught.value.reason is Reason.MEDIA_UNREADABLE
    return str(caught.value)


def test_what_is_missing_is_said(clip: Path, tmp_path: Path) -> None:
    """Cut off, and with a tail of zeros: from which frame on, and what can be used."""
    content = clip.read_bytes()
    half, zeros = tmp_path / "half.mp4", tmp_path / "zeros.mp4"
    half.write_bytes(content[: len(content) // 2])
    zeros.write_bytes(content[: len(content) // 2].ljust(len(content), b"\0"))
    for path in (half, zeros):
        probe = probe_media(path)
        missing, first = damaged(probe)
        assert first + missing == FRAMES
        assert 0 < first < FRAMES
        assert message_of(path) == (
            f"{path}: damaged from frame {first} of {FRAMES} on;"
            f" max_frames={first} would use what is before"
        )
        assert f"max_frames={-(-first // 3)} would" in message_of(path, stride=3)
        with VideoReader(path) as video:
            indices = video.sampled(3, 0, -(-first // 3))
            frames = list(video.frames(indices))
        assert indices == list(range(0, first, 3))
        whole = [item for item in frames if item[0] < first - probe.damaged_frames]
        assert [number_of(frame) for _, frame in whole] == indices[: len(whole)]


@pytest.mark.parametrize(
    ("name", "codec", "lost"),
    [
        *(("x.mp4", "libx264", 12), ("x.mkv", "libx264", 12), ("x.ts", "libx264", 10)),
        *(("x.avi", "libx264", 12), ("x.webm", "libvpx-vp9", 12)),
    ],
)
def test_what_is_lost_at_the_beginning_is_said(
    clip: Path, tmp_path: Path, name: str, codec: str, lost: int
) -> None:
    """Where the first picture is destroyed nothing can be decoded up to the next that is whole."""
    path = tmp_path / name
    run_ffmpeg("-i", clip, "-c:v", codec, "-g", "12", "-pix_fmt", "yuv420p", path)
    assert not damage_of(path, probe_media(path))
    with av.open(str(path)) as video:
        first = next(packet for packet in video.demux(video=0) if packet.size)
        start, size = first.pos, first.size
    content = bytearray(path.read_bytes())
    content[start + 8 : start + size] = bytes(37 * each % 256 for each in range(8, size))
    path.write_bytes(content)
    probe = probe_media(path)
    assert probe.damaged_frames == lost
    assert probe.missing_frames == 0
    assert f"{lost} frame" in damage_of(path, probe)


def test_a_file_cut_between_two_keys_is_whole(clip: Path, tmp_path: Path) -> None:
    """What refers to what was cut away is not shown, and is no damage."""
    long, cut = tmp_path / "long.mp4", tmp_path / "cut.mp4"
    options = ("-x264-params", "open-gop=1:keyint=12:bframes=3", "-pix_fmt", "yuv420p")
    run_ffmpeg("-i", clip, "-c:v", "libx264", *options, long)
    run_ffmpeg("-ss", "0.8", "-i", long, "-c", "copy", cut)
    assert not damage_of(cut, probe_media(cut))


def test_a_container_that_promises_too_much(clip: Path, tmp_path: Path) -> None:
    """Counts of a damaged header are no reason to ask for terabytes."""
    content = bytearray(clip.read_bytes())
    at = content.index(b"stts") + 12
    content[at : at + 4] = struct.pack(">I", 0x7FFFFFF0)
    mp4 = tmp_path / "promises.mp4"
    mp4.write_bytes(content)
    avi = tmp_path / "promises.avi"
    run_ffmpeg("-i", clip, "-c:v", "mpeg4", "-q:v", "3", avi)
    content = bytearray(avi.read_bytes())
    at = content.index(b"strh") + 8 + 32
    content[at : at + 4] = struct.pack("<I", 0x7FFFFFF0)
    avi.write_bytes(content)
    for path in (mp4, avi):
        probe = probe_media(path)
        assert damaged(probe) == (0x7FFFFFF0 - probe.frames, probe.frames)
        assert probe.reader == "av"
        assert f"damaged from frame {probe.frames} on; max_frames=" in message_of(path)


def test_patched_up_frames_are_counted(clip: Path, tmp_path: Path) -> None:
    """Smears are read, and the probe says so; results hang on another digest."""
    rng = np.random.default_rng(3)
    content = np.frombuffer(clip.read_bytes(), np.uint8).copy()
    begin = len(content) * 2 // 3
    content[rng.integers(begin, len(content) - 200, size=25)] ^= 0x55
    path = tmp_path / "smeared.mp4"
    path.write_bytes(content.tobytes())
    probe = probe_media(path)
    assert probe.damaged_frames or probe.missing_frames
    assert (probe.reader, probe.ordinary) == ("av", False)
    assert probe.content_digest != probe.digest


def test_ordinary_videos_keep_their_digest(
    clip: Path, varying: dict[str, Path], tmp_path: Path
) -> None:
    """Results change their keys only where frames do."""
    ordinary = [clip, encoded(clip, tmp_path / "av1.mp4"), encoded(clip, tmp_path / "prores.mov")]
    for path in ordinary:
        probe = probe_media(path)
        assert probe.content_digest == probe.digest
    for path in varying.values():
        probe = probe_media(path)
        assert probe.content_digest not in {probe.digest, probe_media(clip).content_digest}


def test_a_codec_that_nothing_reads(clip: Path, tmp_path: Path) -> None:
    """One sentence with the remedy."""
    path = tmp_path / "unknown.avi"
    run_ffmpeg("-i", clip, "-c:v", "mpeg4", path)
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"QQQQ"))
    with pytest.raises(UnitError, match="nothing here reads its video codec; `ffmpeg -i ") as error:
        facts_of(path)
    assert error.value.reason is Reason.MEDIA_UNSUPPORTED


def test_late_pictures_keep_with_their_sound(clip: Path, tmp_path: Path) -> None:
    """The first frame is shown half a second after the sound begins."""
    path = tmp_path / "late.mkv"
    run_ffmpeg("-itsoffset", "0.5", "-i", clip, "-f", "lavfi", "-i", "sine=duration=2",
               "-c:v", "copy", path)  # fmt: skip
    with VideoReader(path) as video:
        assert video.facts.start_seconds == pytest.approx(0.5, abs=0.03)
        assert video.shown_at(10) == pytest.approx(1.0, abs=0.03)
        assert not video.facts.ordinary


def test_playlists_open_no_other_files(clip: Path, tmp_path: Path) -> None:
    """A list of files is no video, even if the files are."""
    for name, text in (
        ("list.m3u8", f"#EXTM3U\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n"),
        ("list.txt", f"ffconcat version 1.0\nfile {clip}\n"),
        ("list.mpd", f"<MPD><Period><BaseURL>{clip}</BaseURL></Period></MPD>"),
    ):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(UnitError, match="not one of the video formats"):
            facts_of(path)


def test_the_process_itself_agrees(clip: Path) -> None:
    """What the decoder process does can be done without it."""
    video = OpenVideo(str(clip), "auto", SizeLimits())
    assert [number_of(frame) for _, frame in video.read([3, 1, 39])] == [3, 1, 39]
    assert video.inspect().whole
    video.close()
