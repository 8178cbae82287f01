from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from dispose_stages.config_encoding import Encoding
from dispose_stages.errors import Reason, UnitError
from dispose_stages.store import video_writer
from dispose_stages.store.ffmpeg import ffmpeg_binary
from dispose_stages.store.video import VideoReader
from dispose_stages.store.video_writer import VideoWriter, audio_stretch
from tests.store.clips import HEIGHT, WIDTH, facts_of, number_of, numbered_frame, run_ffmpeg

FAST = Encoding(preset="ultrafast")


def write(path: Path, frames: int = 12, encoding: Encoding = FAST, **options: object) -> Path:
    """Numbered frames, encoded."""
    with VideoWriter(path, (HEIGHT, WIDTH), 15.0, encoding, **options) as writer:  # type: ignore[arg-type]
        for number in range(frames):
            writer.write(numbered_frame(number))
    return path


def described(path: Path) -> str:
    """What ffmpeg says about a file."""
    command = [ffmpeg_binary(), "-hide_banner", "-i", str(path)]
    return subprocess.run(command, capture_output=True, check=False).stderr.decode()


def tags_of(path: Path) -> dict[str, str]:
    """Metadata as ffmpeg writes it to its own format, unescaped."""
    command = [ffmpeg_binary(), "-v", "error", "-i", str(path), "-f", "ffmetadata", "-"]
    text = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    text = text.replace("\\\n", "\0")
    pairs = [line.split("=", 1) for line in text.splitlines() if "=" in line]
    plain = str.maketrans({"\0": "\n"})
    return {
        name: value.replace("\\", "").translate(plain) for name, value in ((n, v) for n, v in pairs)
    }


def test_frames_come_back(tmp_path: Path) -> None:
    """Number, order, size, rate and colours survive the round trip."""
    path = write(tmp_path / "x.mp4")
    with VideoReader(path) as reader:
        assert (reader.frame_count, reader.fps) == (12, 15.0)
        for index, frame in reader.frames(range(12)):
            assert number_of(frame) == index
            corner = frame[40:60, 8:88].reshape(-1, 3).mean(axis=0)
            np.testing.assert_allclose(corner, (200, 40, 40), atol=3)


def test_format(tmp_path: Path) -> None:
    """H.264, yuv420p, colours tagged, index in front of the pictures."""
    path = write(tmp_path / "x.mp4")
    text = described(path)
    assert "Video: h264" in text
    assert "yuv420p(tv, bt709" in text
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_bytes_are_reproducible(tmp_path: Path) -> None:
    """Two encodes of the same frames are the same file, whatever its name."""
    tags = {"pair_id": "a", "seed": "42"}
    first = write(tmp_path / "a.mp4", 30, Encoding(), tags=tags).read_bytes()
    assert write(tmp_path / "b.mp4", 30, Encoding(), tags=tags).read_bytes() == first
    assert write(tmp_path / "b.mp4", 30, Encoding(), tags={"seed": "43"}).read_bytes() != first


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_tags_take_any_text(tmp_path: Path, container: str) -> None:
    """Quotes, option-like words, newlines and other scripts arrive as they were."""
    tags = {
        "pair_id": "-f=null; $(touch x) 'q' \"d\"",
        "note": "two\nlines = é 漢字 %s",
        "empty": "",
    }
    encoding = Encoding(preset="ultrafast", container=container)  # type: ignore[arg-type]
    path = write(tmp_path / f"x.{container}", 2, encoding, tags=tags)
    actual = {name.lower(): value for name, value in tags_of(path).items()}
    assert actual["pair_id"] == tags["pair_id"]
    assert actual["note"] == tags["note"]
    assert not (tmp_path / "x").exists()


def test_settings_reach_the_encoder(tmp_path: Path) -> None:
    """Quality, pixel format and container are what was asked for."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    sizes = []
    for crf in (10, 40):
        with VideoWriter(tmp_path / "x.mp4", (HEIGHT, WIDTH), 15.0, Encoding(crf=crf)) as writer:
            writer.write(noise)
        sizes.append((tmp_path / "x.mp4").stat().st_size)
    assert sizes[0] > 2 * sizes[1]
    encoding = Encoding(pixel_format="yuv444p", container="mkv")
    path = write(tmp_path / "x.mkv", 3, encoding)
    text = described(path)
    assert "matroska" in text
    assert "yuv444p" in text


def test_odd_sizes(tmp_path: Path) -> None:
    """Sizes that the pixel format cannot hold are refused before anything is written."""
    with pytest.raises(ValueError, match="even sizes"):
        VideoWriter(tmp_path / "x.mp4", (63, 96), 15.0, FAST)
    odd = Encoding(pixel_format="yuv444p")
    with VideoWriter(tmp_path / "x.mp4", (63, 95), 15.0, odd) as writer:
        writer.write(np.zeros((63, 95, 3), np.uint8))
    assert facts_of(tmp_path / "x.mp4").width == 95


def test_wrong_frames_and_tags(tmp_path: Path) -> None:
    """A frame of another size or dtype, or a tag's name with odd characters, is a defect."""
    with pytest.raises(ValueError, match="does not name a tag"):
        VideoWriter(tmp_path / "x.mp4", (HEIGHT, WIDTH), 15.0, FAST, tags={"a=b": "c"})
    for frame in (np.zeros((HEIGHT, WIDTH, 4), np.uint8), np.zeros((HEIGHT, WIDTH, 3))):
        with (
            pytest.raises(ValueError, match="a frame of"),
            VideoWriter(tmp_path / "x.mp4", (HEIGHT, WIDTH), 15.0, FAST) as writer,
        ):
            writer.write(frame)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    """Whoever stops half-way leaves neither a half file nor a temporary one."""
    path = write(tmp_path / "x.mp4")
    before = path.read_bytes()
    writer = VideoWriter(path, (HEIGHT, WIDTH), 15.0, FAST)

    def stop_half_way() -> None:
        with writer:
            writer.write(numbered_frame(0))
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        stop_half_way()
    assert writer._ffmpeg.returncode is not None
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.mp4"]


def test_no_frames(tmp_path: Path) -> None:
    """A video without frames is not delivered."""
    with pytest.raises(UnitError) as caught, VideoWriter(tmp_path / "x.mp4", (64, 64), 15.0, FAST):
        pass
    assert caught.value.reason in {Reason.NO_FRAMES, Reason.ENCODE_FAILED}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("frames", [1, 200])
def test_a_failing_encoder_says_why(
    tmp_path: Path, frames: int, caplog: pytest.LogCaptureFixture
) -> None:
    """ffmpeg's last words go to the log, whether it dies at once or while frames come."""
    with pytest.raises(UnitError, match=r"status \d+; its words are in the job's log") as caught:
        write(tmp_path / "x.mp4", frames, Encoding.model_construct(preset="no-such-speed"))
    assert caught.value.reason is Reason.ENCODE_FAILED
    assert "preset" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_chatty_encoder_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Megabytes on stderr are drained; the last lines are kept."""
    program = tmp_path / "ffmpeg"
    program.write_text(
        "#!/bin/sh\nfor i in $(seq 20000); do echo complaint $i of many, many more >&2; done\n"
        "cat >/dev/null\nexit 3\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(video_writer, "ffmpeg_binary", lambda: str(program))
    with pytest.raises(UnitError, match="status 3"):
        write(tmp_path / "out" / "x.mp4", 3)
    assert "complaint 20000 of many" in caplog.text


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of picture and sound."""
    path = tmp_path_factory.mktemp("driver") / "driver.mp4"
    picture = ("-f", "lavfi", "-i", "testsrc=size=64x64:rate=30:duration=2")
    run_ffmpeg(*picture, "-f", "lavfi", "-i", "sine=duration=2", "-pix_fmt", "yuv420p", path)
    return path


@pytest.mark.parametrize("tempo", [1.0, 1.25])
def test_sound_of_the_driver(tmp_path: Path, driver: Path, tempo: float) -> None:
    """Sound is copied, cut to the picture, or sped up to keep with it."""
    codec = facts_of(driver).audio_codec
    audio = audio_stretch(driver, codec, start_seconds=0.5, seconds=0.8 * tempo, tempo=tempo)
    path = write(tmp_path / "x.mp4", 12, audio=audio)
    text = described(path)
    assert "Audio: aac" in text
    duration = text.split("Duration: ")[1].split(",")[0].split(":")[-1]
    assert float(duration) == pytest.approx(0.8, abs=0.06)
    with VideoReader(path) as reader:
        assert reader.frame_count == 12
