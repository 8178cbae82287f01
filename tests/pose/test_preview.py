from __future__ import annotations

import numpy as np

from dispose_stages.artifacts import Frame, PoseTrack
from dispose_stages.pose.preview import (
    BOX_COLOUR,
    contact_sheet,
    overlay_pose,
    preview_frames,
    sheet_positions,
)


def figure(score=0.9, box_score=0.8):
    """A random figure in the middle."""
    keypoints = np.random.default_rng(0).uniform(0.3, 0.7, (1, 134, 2))
    return Frame(
        keypoints,
        np.full((1, 134), score),
        np.array([[10.0, 12.0, 70.0, 100.0]]),
        np.array([box_score]),
    )


def test_skeleton_lies_over_the_dimmed_frame():
    """Opaque where something is drawn, half as bright elsewhere."""
    image = np.full((120, 80, 3), 200, dtype=np.uint8)
    before = image.copy()
    frame = figure(box_score=0.0)
    out = overlay_pose(image, frame)
    drawn = (out != 100).any(axis=-1)
    assert 0.02 < drawn.mean() < 0.9
    assert np.array_equal(image, before)


def test_colours_are_those_the_networks_see():
    """The last body keypoint, alone: red and blue change places (Q16)."""
    frame = figure(score=1.0, box_score=0.0)
    frame.keypoints[0, 18:] = -1
    frame.scores[0, :17] = 0
    x, y = (frame.keypoints[0, 17] * (80, 120)).astype(int)
    assert overlay_pose(np.zeros((120, 80, 3), np.uint8), frame)[y, x].tolist() == [85, 0, 255]


def test_large_frames_are_shrunk_with_their_boxes():
    """A picture for the eye needs no 4K."""
    image = np.zeros((480, 320, 3), dtype=np.uint8)
    frame = figure()
    frame.boxes[:] *= 4
    out = overlay_pose(image, frame, max_height=120)
    assert out.shape == (120, 80, 3)
    assert (out[12, 10:71] == 255).all()


def test_only_detected_boxes_are_shown():
    """The whole-image box of nobody is not drawn."""
    image = np.zeros((120, 80, 3), dtype=np.uint8)
    assert (overlay_pose(image, figure())[12, 10:71] == 255).all()
    assert not (overlay_pose(image, figure(box_score=0.0))[12, 10:71] == 255).all()


def test_preview_takes_the_frames_of_the_track():
    """Matched by index in the source, others passed over."""
    track = PoseTrack.from_frames([figure(), figure(0.5)], [2, 6], 120, 80, 25.0)
    video = [(index, np.full((120, 80, 3), index, np.uint8)) for index in range(8)]
    shown = list(preview_frames(video, track))
    assert [int(image[0, 0, 0]) for image in shown] == [1, 3]


def test_sheet_positions_are_spread():
    """First and last included, never twice."""
    assert sheet_positions(100, 5) == [0, 25, 50, 74, 99]
    assert sheet_positions(3, 9) == [0, 1, 2]
    assert sheet_positions(1, 9) == [0]
    assert sheet_positions(0, 9) == []


def test_contact_sheet():
    """Tiles of the first image's aspect; other aspects are fitted in, gaps are black."""
    images = [np.full((100, 50, 3), 40 * i + 40, dtype=np.uint8) for i in range(4)]
    images.append(np.full((50, 100, 3), 250, dtype=np.uint8))
    sheet = contact_sheet(images, tile_height=20)
    assert sheet.shape == (40, 30, 3)
    assert [int(sheet[10, x, 0]) for x in (5, 15, 25)] == [40, 80, 120]
    assert [int(sheet[y, 15, 0]) for y in (22, 27)] == [250, 0]
    assert contact_sheet(images[:2], columns=2, tile_height=10).shape == (10, 10, 3)


def test_boxes_have_the_colour_of_who_is_in_them():
    """Also where the order of detection changes; one person alone keeps the plain box."""
    left, right = (10.0, 12.0, 40.0, 100.0), (45.0, 12.0, 75.0, 100.0)

    def frame(*boxes):
        count = len(boxes)
        middles = np.asarray(boxes).reshape(count, 1, 2, 2).mean(axis=2) / (80, 120)
        points = np.repeat(middles, 134, axis=1)
        return Frame(points, np.full((count, 134), 0.9), np.array(boxes), np.full(count, 0.8))

    def drawn(*frames):
        track = PoseTrack.from_frames(list(frames), list(range(len(frames))), 120, 80, 25.0)
        images = [(number, np.zeros((120, 80, 3), np.uint8)) for number in range(len(frames))]
        return list(preview_frames(images, track))

    first, second = drawn(frame(left, right), frame(right, left))
    for x in (10, 75):
        assert first[30, x].tolist() == second[30, x].tolist()
    assert first[30, 10].tolist() != first[30, 75].tolist()
    (alone,) = drawn(frame(left))
    assert alone[30, 10].tolist() == list(BOX_COLOUR)
