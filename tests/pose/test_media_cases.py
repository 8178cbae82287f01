"""The stage on files as users bring them: it works, or it says why, by a typed reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dispose_stages.batch.stage import Context, InterruptedUnitError
from dispose_stages.config import Config
from dispose_stages.config_encoding import Encoding
from dispose_stages.errors import Reason, UnitError
from dispose_stages.pose.stage import STAGE, PoseWorker
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.ffmpeg import ffmpeg_binary
from dispose_stages.store.video_writer import VideoWriter
from tests.pose import fakes
from tests.store.clips import run_ffmpeg
from tests.toy_run import compute, ready

HEIGHT, WIDTH = 128, 96
BOX = (24, 32, 56, 104)


@pytest.fixture
def context(tmp_path):
    """Surroundings on a CPU, without a bundle."""
    return Context(Config(), ArtifactStore(tmp_path / "store"), tmp_path, "cpu", tmp_path)


def unit(role, path, **params):
    """A unit that reads one file."""
    return ready("pose", "ab" * 16, params, {role: path})


def image_pose(context, path, resolution=128, networks=None):
    """Pose of an image."""
    worker = PoseWorker(networks or fakes.networks(), context)
    return compute(worker, unit("image", path, kind="image", resolution=resolution))


def video_pose(context, path, networks=None, **params):
    """Poses of a video."""
    reading = {"sample_stride": 2, "start_frame": 0, "max_frames": None, **params}
    worker = PoseWorker(networks or fakes.networks(), context)
    return compute(worker, unit("video", path, kind="video", **reading))


def reason_of(call, *arguments, **options):
    """The typed reason of a failure."""
    with pytest.raises(UnitError) as caught:
        call(*arguments, **options)
    return caught.value.reason


def write_video(path, frames=12, fps=25.0, height=HEIGHT, width=WIDTH, box=BOX):
    """A clip of one standing rectangle."""
    with VideoWriter(path, (height, width), fps, Encoding(preset="ultrafast", crf=1)) as writer:
        for _ in range(frames):
            writer.write(fakes.scene(height, width, box))
    return path


def boxes_near(track, expected, tolerance=2.5):
    """Every frame shows one person in this box."""
    assert track.person_offsets.tolist() == list(range(len(track) + 1))
    np.testing.assert_allclose(track.boxes, np.tile(expected, (len(track), 1)), atol=tolerance)
    assert (track.box_scores > 0.5).all()


def test_plain_video(context, tmp_path):
    """Frames by stride, coordinates by the video's own size."""
    track = video_pose(context, write_video(tmp_path / "a.mp4"))
    assert track.frame_indices.tolist() == [0, 2, 4, 6, 8, 10]
    assert (track.height, track.width, track.fps) == (HEIGHT, WIDTH, 25.0)
    boxes_near(track, BOX)
    np.testing.assert_allclose(track.keypoints[:, 0], 6 * [[40 / WIDTH, 68 / HEIGHT]], atol=0.03)


def test_reading_parameters(context, tmp_path):
    """Start, limit and a doubled stride at 50 fps."""
    path = write_video(tmp_path / "a.mp4", frames=20, fps=50.0)
    assert video_pose(context, path).frame_indices.tolist() == [0, 4, 8, 12, 16]
    track = video_pose(context, path, sample_stride=1, start_frame=3, max_frames=4)
    assert track.frame_indices.tolist() == [3, 5, 7, 9]


def test_video_of_one_frame(context, tmp_path):
    """One pose."""
    assert len(video_pose(context, write_video(tmp_path / "a.mp4", frames=1))) == 1


def test_start_beyond_the_end(context, tmp_path):
    """No frames are left to read."""
    path = write_video(tmp_path / "a.mp4")
    assert reason_of(video_pose, context, path, start_frame=12) is Reason.NO_FRAMES


def test_rotated_phone_video(context, tmp_path):
    """Stored lying, shown standing: size and boxes are those of the upright picture."""
    upright = write_video(tmp_path / "a.mp4")
    rotated = tmp_path / "rotated.mp4"
    run_ffmpeg("-display_rotation", 90, "-i", upright, "-c", "copy", rotated)
    track = video_pose(context, rotated)
    assert (track.height, track.width) == (WIDTH, HEIGHT)
    x1, y1, x2, y2 = BOX
    boxes_near(track, (y1, WIDTH - x2, y2, WIDTH - x1))


@pytest.mark.parametrize(("height", "width"), [(96, 160), (160, 96), (128, 128)])
def test_landscape_and_portrait(context, tmp_path, height, width):
    """Either way round; boxes stay in pixels of the video."""
    track = video_pose(context, write_video(tmp_path / "a.mp4", height=height, width=width))
    assert (track.height, track.width) == (height, width)
    y2 = min(BOX[3], height)
    boxes_near(track, (*BOX[:3], y2))


def test_size_that_changes_within_a_video(context, tmp_path):
    """Portrait that turns into landscape: as decord, and so the original, sees it, rescaled."""
    parts = [
        write_video(tmp_path / "a.ts.mp4", height=128, width=96),
        write_video(tmp_path / "b.ts.mp4", height=96, width=128),
    ]
    joined = tmp_path / "joined.ts"
    content = b""
    for part in parts:
        stream = part.with_suffix(".ts")
        run_ffmpeg("-i", part, "-c", "copy", "-f", "mpegts", stream)
        content += stream.read_bytes()
    joined.write_bytes(content)
    track = video_pose(context, joined, sample_stride=1)
    assert (track.height, track.width, len(track)) == (128, 96, 24)
    scale_x, scale_y = 96 / 128, 128 / 96
    x1, y1, x2, y2 = BOX[0], BOX[1], BOX[2], 96
    expected = [BOX, (x1 * scale_x, y1 * scale_y, x2 * scale_x, y2 * scale_y)]
    np.testing.assert_allclose(track.boxes[[0, -1]], expected, atol=2.5)


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 100])
def test_corrupt_video(context, tmp_path, content):
    """Empty, or something else altogether."""
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    expected = {Reason.MEDIA_EMPTY, Reason.MEDIA_UNREADABLE, Reason.MEDIA_UNSUPPORTED}
    assert reason_of(video_pose, context, path) in expected


def test_video_that_ends_early(context, tmp_path):
    """An index in front promises frames that are not there."""
    path = write_video(tmp_path / "a.mp4", frames=60)
    front = tmp_path / "front.mp4"
    run_ffmpeg("-i", path, "-c", "copy", "-movflags", "faststart", front)
    content = front.read_bytes()
    front.write_bytes(content[: len(content) * 2 // 3])
    assert reason_of(video_pose, context, front) is Reason.MEDIA_UNREADABLE


def test_missing_file(context, tmp_path):
    """Neither image nor video."""
    assert reason_of(video_pose, context, tmp_path / "no.mp4") is Reason.MEDIA_MISSING
    assert reason_of(image_pose, context, tmp_path / "no.png") is Reason.MEDIA_MISSING


def test_nobody_in_a_video_is_kept(context, tmp_path):
    """Whether that is a fault is the pair's business; the box's score says it."""
    track = video_pose(context, write_video(tmp_path / "a.mp4", box=None))
    assert (track.box_scores == 0).all()
    assert len(track) == 6


def scene_image(mode="RGB", height=192, width=128, box=(32, 48, 64, 144)):
    """The rectangle as a Pillow image."""
    return Image.fromarray(fakes.scene(height, width, box)).convert(mode)


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("RGB", "a.png"),
        ("L", "a.png"),
        ("LA", "a.png"),
        ("RGBA", "a.png"),
        ("P", "a.png"),
        ("1", "a.png"),
        ("CMYK", "a.jpg"),
        ("L", "a.jpg"),
        ("RGB", "a.webp"),
    ],
)
def test_image_modes(context, tmp_path, mode, name):
    """Grey, transparent, palette and CMYK files show the same person."""
    scene_image(mode).save(tmp_path / name)
    track = image_pose(context, tmp_path / name)
    assert (track.height, track.width, track.fps) == (192, 128, 0.0)
    boxes_near(track, (32, 48, 64, 144))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(context, tmp_path, orientation):
    """A phone's JPEG is looked at upright, whichever way the sensor was held."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = scene_image()
    if orientation in undo:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95)
    track = image_pose(context, tmp_path / "a.jpg")
    assert (track.height, track.width) == (192, 128)
    boxes_near(track, (32, 48, 64, 144))


def test_image_is_brought_to_target_size(context, tmp_path):
    """Coordinates belong to the resized, cropped image: 384x512 covers 128x192 as 144x192."""
    scene_image(height=384, width=512, box=(192, 96, 256, 288)).save(tmp_path / "a.png")
    track = image_pose(context, tmp_path / "a.png")
    assert (track.height, track.width) == (128, 192)
    scale = 192 / 512
    top = (144 - 128) / 2
    boxes_near(track, (192 * scale, 96 * scale - top, 256 * scale, 288 * scale - top))


def test_corrupt_image(context, tmp_path):
    """Half a JPEG."""
    scene_image().save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    assert reason_of(image_pose, context, tmp_path / "a.jpg") is Reason.MEDIA_UNREADABLE


def test_not_finite(context, tmp_path):
    """A network that answers with NaN fails the unit, not the run."""

    def estimate(images):
        simcc_x, simcc_y = fakes.estimate(images)
        return np.full_like(simcc_x, np.nan), simcc_y

    scene_image().save(tmp_path / "a.png")
    networks = fakes.networks(estimator=estimate)
    reason = reason_of(image_pose, context, tmp_path / "a.png", networks=networks)
    assert reason is Reason.NUMERIC


def test_asked_to_stop(context, tmp_path):
    """Within a video, not only between units."""
    path = write_video(tmp_path / "a.mp4", frames=40)
    calls = []
    context.stop_requested = lambda: calls.append(1) or len(calls) > 3
    with pytest.raises(InterruptedUnitError):
        video_pose(context, path, sample_stride=1)
    assert len(calls) == 4


def test_artifact_survives_the_store(context, tmp_path):
    """What the stage computes is what later stages read."""
    item = unit("video", write_video(tmp_path / "a.mp4"), kind="video", sample_stride=2,
                start_frame=0, max_frames=None)  # fmt: skip
    stage = STAGE
    track = compute(PoseWorker(fakes.networks(), context), item)
    committed = stage.repository(context).commit(item, track)
    read = context.store.read("pose", committed.key, type(track))
    for name in ("frame_indices", "person_offsets", "keypoints", "scores", "boxes", "box_scores"):
        assert np.array_equal(getattr(read, name), getattr(track, name)), name
    assert (read.height, read.width, read.fps) == (track.height, track.width, track.fps)


def test_ffmpeg_is_there():
    """The clips above are made with it."""
    assert Path(ffmpeg_binary()).exists()
