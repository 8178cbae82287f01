"""What the pose pair is trained on is what the pipeline's pose code feeds it and reads from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from dispose_stages.models.whole_body import detection, estimation
from dispose_stages.training.bundle.export import write_detector, write_pose
from dispose_stages.training.bundle.pose_data import (
    crop_person,
    detection_examples,
    draw_frames,
    pose_examples,
)
from dispose_stages.training.bundle.pose_networks import (
    DETECTOR_SIZE,
    POSE_HEIGHT,
    POSE_WIDTH,
    TARGET_SIGMA,
    TinyDetector,
    TinyPose,
    _score,
)
from dispose_stages.training.bundle.train_pose import (
    assign_cells,
    decode_rows,
    detection_loss,
    pose_loss,
    train,
)
from dispose_stages.training.world.scene import OUTSIDE


def test_examples_depend_on_the_seed_only() -> None:
    """Same seed, same pixels and truth."""
    for first, second in zip(pose_examples(4, seed=11), pose_examples(4, seed=11), strict=True):
        assert np.array_equal(first, second, equal_nan=True)
    boxes = [detection_examples(3, seed=5)[1] for _ in range(2)]
    assert np.array_equal(boxes[0], boxes[1], equal_nan=True)


def test_crop_is_the_pipelines_crop() -> None:
    """Training sees the pixels that the pipeline will cut out."""
    frame = draw_frames(123, persons=1, whole=True)[0]
    crop, points = crop_person(frame, 0, None)
    centres, sizes = estimation.box_centre_and_size(frame.boxes[:1], POSE_WIDTH / POSE_HEIGHT)
    theirs = estimation.crop_person(frame.image, centres[0], sizes[0], POSE_HEIGHT, POSE_WIDTH)
    assert np.abs(crop.astype(int) - theirs).mean() < 0.5
    inside = frame.keypoints[0, :, 2] != OUTSIDE
    back = estimation.to_frame(points[None], centres, sizes, (POSE_HEIGHT, POSE_WIDTH))[0]
    assert np.allclose(back[inside], frame.keypoints[0, inside, :2], atol=1e-2)


def test_rows_are_decoded_as_in_the_pipeline() -> None:
    """Training and pipeline agree on what a row of the detector means."""
    generator = torch.Generator().manual_seed(0)
    cells = sum((DETECTOR_SIZE // stride) ** 2 for stride in detection.STRIDES)
    rows = 0.3 * torch.randn(1, cells, 6, generator=generator)
    ours = decode_rows(rows)[0].numpy()
    theirs = detection.decode_boxes(rows[0].numpy(), DETECTOR_SIZE, DETECTOR_SIZE)
    centre, size = 0.5 * (ours[:, :2] + ours[:, 2:]), ours[:, 2:] - ours[:, :2]
    assert np.allclose(np.concatenate([centre, size], axis=1), theirs, atol=1e-3)


@pytest.mark.parametrize(("side", "stride"), [(30.0, 8), (80.0, 16), (140.0, 32)])
def test_cells_of_one_stride_find_a_figure(side: float, stride: int) -> None:
    """Small figures belong to fine cells; every figure has at least one."""
    box = torch.tensor([[[10.0, 5.0, 10.0 + side / 2, 5.0 + side]]])
    target, weight, chosen = assign_cells(box)
    counts = [(DETECTOR_SIZE // value) ** 2 for value in detection.STRIDES]
    per_stride = {
        value: part.sum().item()
        for value, part in zip(detection.STRIDES, target[0].split(counts), strict=True)
    }
    assert per_stride.pop(stride) >= 1
    assert not any(per_stride.values())
    assert (weight[target > 0] == 1).all()
    assert torch.equal(chosen[target > 0][0], box[0, 0])


def test_score_is_high_for_a_peak_and_low_for_none() -> None:
    """A peak as narrow as trained is well above the threshold, an even spread well below."""
    bins = torch.arange(288.0)
    peak = -0.5 * ((bins - 100) / TARGET_SIGMA) ** 2
    assert 0.8 < float(_score(peak).max()) < 0.95
    assert float(_score(torch.zeros(288)).max()) < 0.1
    assert int(_score(peak).argmax()) == 100


def test_training_lowers_both_losses() -> None:
    """A few steps on a handful of examples are enough to see it."""
    torch.manual_seed(0)
    pose_batch, box_batch = (
        tuple(map(torch.from_numpy, examples(8, seed=1)))
        for examples in (pose_examples, detection_examples)
    )
    pose, detector = TinyPose(), TinyDetector()
    for network, batch, loss in (
        (pose, pose_batch, lambda b: pose_loss(pose, b)),
        (detector, box_batch, lambda b: detection_loss(detector, b)),
    ):
        before = float(loss(batch).detach())
        train(network, lambda _, b=batch: b, loss, chunks=1, passes=12, batch_size=8)
        assert float(loss(batch).detach()) < 0.9 * before


def test_export_keeps_the_numbers(tmp_path: Path) -> None:
    """The ONNX files compute what the modules compute, within half precision of the weights."""
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(2)
    detector, pose = TinyDetector().eval(), TinyPose().eval()
    write_detector(detector, tmp_path / "detector.onnx")
    write_pose(pose, tmp_path / "pose.onnx")
    image = 255 * torch.rand(1, 3, DETECTOR_SIZE, DETECTOR_SIZE, generator=generator)
    crops = torch.randn(3, 3, POSE_HEIGHT, POSE_WIDTH, generator=generator)
    with torch.inference_mode():
        rows, vectors = detector(image), pose(crops)
    session = onnxruntime.InferenceSession(tmp_path / "detector.onnx")
    (exported,) = session.run(None, {"images": image.numpy()})
    assert np.abs(exported - rows.numpy()).max() < 0.02 * np.abs(rows.numpy()).max()
    session = onnxruntime.InferenceSession(tmp_path / "pose.onnx")
    for ours, theirs in zip(session.run(None, {"input": crops.numpy()}), vectors, strict=True):
        assert ours.shape == tuple(theirs.shape)
        assert np.abs(ours - theirs.numpy()).max() < 0.02
