from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from dispose_stages.config_encoding import Encoding
from dispose_stages.models.prefetch import prefetch
from dispose_stages.models.whole_body.extraction import extract_pose, extract_poses
from dispose_stages.store.video_writer import VideoWriter
from tests.pose import fakes


def video(count, height=120, width=80):
    """A rectangle that walks to the right; every fifth frame is empty."""
    for index in range(count):
        box = None if index % 5 == 4 else (10 + index, 20, 30 + index, 100)
        yield index * 2, fakes.scene(height, width, box)


def middles(frame):
    """Where the fake estimator saw the persons, pixels."""
    return frame.keypoints[:, 0] * (80, 120)


def test_persons_are_found_where_they_are():
    """Boxes and keypoints in the frame's own coordinates, through letterbox and crop."""
    frame = extract_pose(fakes.scene(120, 80, (16, 32, 32, 96)), fakes.networks())
    np.testing.assert_allclose(frame.boxes, [[16, 32, 32, 96]], atol=0.76)
    np.testing.assert_allclose(middles(frame), [[24, 64]], atol=0.76)
    np.testing.assert_allclose(frame.box_scores, [0.81], rtol=1e-6)
    assert frame.scores[0, 0] == np.float32(0.8)


def test_nobody_gives_the_whole_image_and_low_scores():
    """An empty frame still has one pose, marked by the box's score 0."""
    frame = extract_pose(fakes.scene(120, 80), fakes.networks())
    assert frame.boxes.tolist() == [[0, 0, 80, 120]]
    assert frame.box_scores.tolist() == [0]
    assert (frame.scores[0, 2:] < 0.3).all()


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_stream_equals_one_by_one(batch_size):
    """Whatever the batch size: same order, same poses."""
    networks = fakes.networks(batch_size=batch_size)
    streamed = list(extract_poses(video(11), networks))
    assert [index for index, _ in streamed] == list(range(0, 22, 2))
    for (_, frame), (_, image) in zip(streamed, video(11), strict=True):
        alone = extract_pose(image, networks)
        assert np.array_equal(frame.keypoints, alone.keypoints)
        assert np.array_equal(frame.boxes, alone.boxes)


def test_batches_reach_the_networks():
    """Frames and crops arrive together, up to the batch size."""
    seen = {"detector": [], "estimator": []}

    def spy(name, network):
        def call(images):
            seen[name].append(len(images))
            return network(images)

        return call

    networks = fakes.networks(
        detector=spy("detector", fakes.detect), estimator=spy("estimator", fakes.estimate)
    )
    assert len(list(extract_poses(video(10), networks))) == 10
    assert seen == {"detector": [4, 4, 2], "estimator": [4, 4, 2]}


def test_an_empty_video_gives_nothing():
    """No frames, no poses, no hanging thread."""
    assert list(extract_poses(iter(()), fakes.networks())) == []


def test_decoding_detection_and_estimation_overlap():
    """Three threads work at the same time: each stage waits until the others have begun."""
    meeting = threading.Barrier(3, timeout=20)
    met = {"decode": False, "detect": False, "estimate": False}

    def meet(name):
        if not met[name]:
            met[name] = True
            meeting.wait()

    def frames():
        for position, item in enumerate(video(12)):
            if position == 8:  # the first batch is with the estimator, the second detected
                meet("decode")
            yield item

    def detect(images):
        if seen.is_set():
            meet("detect")
        seen.set()
        return fakes.detect(images)

    def estimate(images):
        meet("estimate")
        return fakes.estimate(images)

    seen = threading.Event()
    networks = fakes.networks(detector=detect, estimator=estimate)
    assert len(list(extract_poses(frames(), networks))) == 12


def broken(count):
    """A video that fails after some frames."""
    yield from video(count)
    raise OSError("damaged")


def test_errors_of_the_decoder_are_raised_here():
    """With their own type, after the threads have ended."""
    with pytest.raises(OSError, match="damaged"):
        list(extract_poses(broken(6), fakes.networks()))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_leaving_early_stops_the_threads():
    """Closing the stream closes the decoder."""
    closed = threading.Event()

    def frames():
        try:
            yield from video(1000)
        finally:
            closed.set()

    poses = extract_poses(frames(), fakes.networks())
    next(poses)
    poses.close()
    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_prefetch_runs_a_bounded_way_ahead():
    """No more than the queue, the item in hand and the one that waits to be put."""
    made = []

    def source():
        for number in range(100):
            made.append(number)
            yield number

    stream = prefetch(source(), 3)
    for expected in range(10):
        assert next(stream) == expected
        assert len(made) <= expected + 6
    stream.close()


MEMORY_PROGRAM = """
import resource, sys
from pathlib import Path
sys.path.insert(0, ".")
import numpy as np
from dispose_stages.models.whole_body.extraction import extract_poses
from dispose_stages.store.video import VideoReader
from tests.pose import fakes

def synthetic(frames, height, width):
    for index in range(frames):
        image = np.empty((height, width, 3), np.uint8)
        image[:] = 0
        image[40:90, index % 50 : index % 50 + 40] = 255
        yield index, image

def stored(path):
    with VideoReader(Path(path)) as reader:
        yield from reader.frames(range(reader.frame_count))

source = stored(sys.argv[1]) if len(sys.argv) == 2 else synthetic(*map(int, sys.argv[1:]))
count = sum(1 for _ in extract_poses(source, fakes.networks()))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak_megabytes(*arguments):
    """Frames seen and peak resident memory of a process that extracts poses from a video."""
    command = [sys.executable, "-c", MEMORY_PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    frames, peak = done.stdout.split()
    return int(frames), int(peak)


def test_memory_does_not_grow_with_the_video(record_property):
    """720p, 2.6 MB a frame: 25 frames and 250 frames (660 MB decoded) need the same."""
    (_, short), (frames, long) = peak_megabytes(25, 720, 1280), peak_megabytes(250, 720, 1280)
    record_property("peak_rss_mb", {"25 frames": short, "250 frames": long})
    assert frames == 250
    assert long < short + 60


@pytest.mark.slow
def test_memory_of_a_stored_video_of_many_frames(tmp_path, record_property):
    """20 minutes at 25 fps, small frames, through the decoder: as much as for 20 seconds."""
    peaks = {}
    for count in (500, 30_000):
        path = tmp_path / f"{count}.mp4"
        with VideoWriter(path, (64, 96), 25.0, Encoding(preset="ultrafast")) as writer:
            for index in range(count):
                writer.write(fakes.scene(64, 96, (index % 50, 10, index % 50 + 30, 50)))
        frames, peaks[count] = peak_megabytes(path)
        assert frames == count
    record_property("peak_rss_mb", peaks)
    assert peaks[30_000] < peaks[500] + 60
