"""Milliseconds per frame of the pose stage's own work, beside the plain definition of drawing.

``make bench-pose``. Networks are left out: their time is ONNX Runtime's. One thread.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dispose_stages.artifacts import Frame
from dispose_stages.config_encoding import Encoding
from dispose_stages.geometry.drawing import draw_pose
from dispose_stages.geometry.frames import cover_resize
from dispose_stages.models.whole_body import detection, estimation
from dispose_stages.store.video import VideoReader
from dispose_stages.store.video_writer import VideoWriter
from tests.bench.size import size
from tests.geometry.plain_drawing import plain_pose

pytestmark = pytest.mark.bench

HEIGHT, WIDTH = 1920, 1080
CLIP_FRAMES = size(48, 4)
DRAWING = {"portrait 1024x576": (1024, 576), "landscape 576x1024": (576, 1024)}


@pytest.fixture(autouse=True)
def one_thread():
    """OpenCV on one core, as the figures are meant."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


def figure() -> Frame:
    """A standing person, a third of the frame wide: trunk and limbs, face, hands."""
    rng = np.random.default_rng(0)
    body = np.array([
        (50, 15), (50, 25), (42, 25), (38, 38), (36, 50), (58, 25), (62, 38), (64, 50), (44, 52),
        (43, 70), (43, 88), (56, 52), (57, 70), (57, 88), (48, 13), (52, 13), (46, 14), (54, 14),
    ]) / 100.0  # fmt: skip
    keypoints = np.zeros((1, 134, 2))
    keypoints[0, :18] = body
    keypoints[0, 18:24] = (0.5, 0.9)
    keypoints[0, 24:92] = np.array([0.5, 0.15]) + rng.uniform(-0.04, 0.04, (68, 2))
    keypoints[0, 92:113] = np.array([0.64, 0.53]) + rng.uniform(-0.03, 0.03, (21, 2))
    keypoints[0, 113:] = np.array([0.36, 0.53]) + rng.uniform(-0.03, 0.03, (21, 2))
    return Frame(keypoints, rng.uniform(0.4, 1.0, (1, 134)), np.zeros((1, 4)), np.ones(1))


@pytest.fixture(scope="module")
def image():
    """A full HD portrait frame with some structure."""
    noise = np.random.default_rng(1).integers(0, 256, (48, 27, 3), dtype=np.uint8)
    return cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def clip(tmp_path_factory, image):
    """The frame, moving."""
    path = tmp_path_factory.mktemp("bench") / "clip.mp4"
    with VideoWriter(path, (HEIGHT, WIDTH), 30.0, Encoding(preset="veryfast")) as writer:
        for shift in range(CLIP_FRAMES):
            writer.write(np.ascontiguousarray(np.roll(image, 4 * shift, axis=1)))
    return path


@pytest.mark.benchmark(group="decode 1920x1080, every frame")
def test_decode(benchmark, clip):
    """One call of `next` is one frame."""
    with VideoReader(clip) as reader:
        frames = reader.frames(range(1, CLIP_FRAMES))
        benchmark.pedantic(next, args=(frames,), rounds=CLIP_FRAMES - 2)


@pytest.mark.benchmark(group="detector input: letterbox to 640x640")
def test_detector_input(benchmark, image):
    """Letterbox and planes."""
    benchmark(lambda: detection.network_input([detection.letterbox(image, 640, 640)[0]]))


@pytest.mark.benchmark(group="detector output: 8400 cells, 80 of them candidates")
def test_detector_output(benchmark):
    """Decoding and suppression."""
    rng = np.random.default_rng(2)
    output = rng.standard_normal((8400, 85)).astype(np.float32)
    output[:, 4:] = 0.01
    output[rng.choice(8400, 80, replace=False), 4:6] = 0.9
    sizes = {"input_size": (640, 640), "ratio": 1 / 3, "image_size": (HEIGHT, WIDTH)}
    benchmark(lambda: detection.find_persons(output, **sizes))


@pytest.mark.benchmark(group="pose input: crop to 384x288")
def test_pose_input(benchmark, image):
    """Affine crop and normalisation of one person."""
    centres, sizes = estimation.box_centre_and_size(np.array([[300.0, 200, 800, 1800]]), 0.75)
    benchmark(
        lambda: estimation.network_input(
            [estimation.crop_person(image, centres[0], sizes[0], 384, 288)]
        )
    )


@pytest.mark.benchmark(group="pose output: SimCC of one person")
def test_pose_output(benchmark):
    """Both maxima."""
    rng = np.random.default_rng(3)
    simcc_x, simcc_y = rng.random((1, 133, 576), np.float32), rng.random((1, 133, 768), np.float32)
    benchmark(lambda: estimation.decode_simcc(simcc_x, simcc_y))


@pytest.mark.benchmark(group="reference: cover resize of 1920x1080 to 1024x576")
def test_cover_resize(benchmark, image):
    """Once per reference."""
    benchmark(lambda: cover_resize(image, 1024, 576))


@pytest.mark.parametrize("shape", DRAWING)
@pytest.mark.parametrize("way", ["blocks", "plain"])
def test_drawing(benchmark, shape, way):
    """Touched blocks only, beside the whole 2160 canvas: the ratio is in parentheses."""
    benchmark.group = f"drawing {shape}"
    draw = {"blocks": draw_pose, "plain": plain_pose}[way]
    frame, target = figure(), DRAWING[shape]
    assert np.array_equal(draw_pose(frame, *target), plain_pose(frame, *target))
    benchmark(lambda: draw(frame, *target))
