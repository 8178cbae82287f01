"""Recordings of detection, pose estimation, drawing, alignment, sizes and frame sampling."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dispose_stages.artifacts import FACE_KEYPOINTS, VISIBLE_SCORE, Frame, PoseTrack
from dispose_stages.config import Motion, Parameters
from dispose_stages.geometry import frames as sizes
from dispose_stages.geometry.drawing import CANVAS_SHORT_SIDE, Raster, draw_body, draw_pose
from dispose_stages.geometry.skeleton import ALIGNMENT_KEYPOINTS, to_openpose
from dispose_stages.models.whole_body import detection, estimation
from dispose_stages.motion.alignment import align_pair
from dispose_stages.motion.unit import motion_params
from tests.parity.case import Case, Check, Family, max_abs, relative_to_peak, stride_of

DIFFERING_PIXELS = 0.01
RASTER_MEAN = 0.5

OFFICIAL = motion_params(Parameters(), Motion(allow_no_person=True))
"""The original refuses no reference."""


def recorded_frame(case: Case, prefix: str = "") -> Frame:
    """A detector result: per-person body, then all left and all right hands."""
    body = case[f"{prefix}candidate"]
    persons = len(body) // 18
    keypoints, scores = np.zeros((persons, 134, 2)), np.zeros((persons, 134))
    keypoints[:, :18] = body.reshape(persons, 18, 2)
    scores[:, :18] = case[f"{prefix}score"]
    keypoints[:, FACE_KEYPOINTS] = case[f"{prefix}faces"]
    scores[:, FACE_KEYPOINTS] = case[f"{prefix}faces_score"]
    # Left hands of all persons come first, then right hands.
    for start, rows in ((92, slice(0, persons)), (113, slice(persons, None))):
        keypoints[:, start : start + 21] = case[f"{prefix}hands"][rows]
        scores[:, start : start + 21] = case[f"{prefix}hands_score"][rows]
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (persons, 1))
    return Frame(keypoints, scores, boxes, np.ones(persons))


def _flat(frame: Frame) -> dict[str, np.ndarray]:
    """The arrays of `recorded_frame`, back in the recorded layout."""
    left, right = slice(92, 113), slice(113, 134)
    index = np.arange(frame.persons * 18).reshape(frame.persons, 18)
    body_scores = frame.scores[:, :18]
    return {
        "candidate": frame.keypoints[:, :18].reshape(-1, 2),
        "subset": np.where(body_scores > VISIBLE_SCORE, index, -1),
        "score": body_scores,
        "hands": np.concatenate([frame.keypoints[:, left], frame.keypoints[:, right]]),
        "hands_score": np.concatenate([frame.scores[:, left], frame.scores[:, right]]),
        "faces": frame.keypoints[:, FACE_KEYPOINTS],
        "faces_score": frame.scores[:, FACE_KEYPOINTS],
    }


def _raw_output(case: Case, height: int, width: int) -> np.ndarray:
    cells = sum((height // s) * (width // s) for s in detection.STRIDES)
    values = case["yolo_vals"]
    raw = np.zeros((cells, values.shape[1] if values.ndim == 2 else 85), dtype=np.float32)
    raw[case["yolo_rows"].astype(np.int64)] = values.reshape(-1, raw.shape[1])
    return raw


PIPELINE_CONSTANTS = {
    "nms_thr": detection.OVERLAP_THRESHOLD,
    "score_thr": detection.CANDIDATE_SCORE,
    "final_score_thr": detection.PERSON_SCORE,
    "person_class": detection.PERSON_CLASS,
    "padding": estimation.PADDING,
    "simcc_split": estimation.SPLIT_RATIO,
}


def _constants(meta: Mapping[str, Any], ours: Mapping[str, Any]) -> Check:
    """What the code fixes is what the recording was made with."""
    worst = max((max_abs(value, meta.get(name, value)) for name, value in ours.items()), default=0)
    return Check("constants", worst, 0)


def replay_pipeline(case: Case) -> Iterator[Check]:
    """Frame → boxes → crops → keypoints, with the networks' outputs given."""
    image, meta = case["image_u8"], case.meta
    height, width = (int(v) for v in meta["det_input"])
    pose_width, pose_height = (int(v) for v in meta["pose_input_wh"])
    yield _constants(meta, PIPELINE_CONSTANTS)
    boxed, ratio = detection.letterbox(image, height, width)
    planes = detection.network_input([boxed])[0]
    recorded = case["det_input_sub"]
    step = stride_of(recorded.shape[1], height)
    yield Check("det_input", max_abs(planes[:, ::step, ::step], recorded), 1)
    yield Check("ratio", max_abs(ratio, case["ratio"]), 1e-12)

    raw = _raw_output(case, height, width)
    decoded = detection.decode_boxes(raw, height, width)
    step = stride_of(len(case["decoded_sub"]), len(decoded))
    yield Check("decoded", max_abs(decoded[::step], case["decoded_sub"][:, :4]), 1e-3)
    boxes, box_scores = detection.find_persons(
        raw, input_size=(height, width), ratio=ratio, image_size=image.shape[:2]
    )
    # Nobody found: recorded without a box, though the original goes on with the whole image.
    whole = np.array([[0.0, 0.0, image.shape[1], image.shape[0]]])
    recorded = case["boxes"] if case["boxes"].size else whole
    yield Check("boxes", max_abs(boxes, recorded), 1e-3)
    if len(boxes) != len(recorded):
        return

    # The recorded boxes are float64 copies of float32 numbers, ours agree to their last bits; what
    # follows is compared from the recorded ones.
    centres, extents = estimation.box_centre_and_size(recorded, pose_width / pose_height)
    yield Check("centers", relative_to_peak(centres, case["centers"]), 1e-9)
    yield Check("scales", relative_to_peak(extents, case["scales"]), 1e-9)
    crops = [
        estimation.crop_person(image, centre, extent, pose_height, pose_width)
        for centre, extent in zip(centres, extents, strict=True)
    ]
    yield Check("warped", max_abs(np.stack(crops), case["warped_u8"]), 1)
    mean, std = np.asarray(meta["mean"]), np.asarray(meta["std"])
    expected = ((case["warped_u8"] - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    actual = estimation.network_input(list(case["warped_u8"]))
    yield Check("normalised", max_abs(actual, expected), 1e-6)

    locations, scores = estimation.decode_simcc(case["simcc_x"], case["simcc_y"])
    keypoints = estimation.to_frame(locations, centres, extents, (pose_height, pose_width))
    yield Check("keypoints133", max_abs(keypoints, case["keypoints133"]), 1e-3)
    yield Check("scores133", max_abs(scores, case["scores133"]), 0)
    points, confidence = to_openpose(keypoints, scores)
    yield Check("keypoints134", max_abs(points, case["keypoints134"]), 1e-3)
    yield Check("scores134", max_abs(confidence, case["scores134"]), 1e-12)
    frame = estimation.frame_pose(keypoints, scores, boxes, box_scores, image.shape[:2])
    tolerance = 1e-3 / min(image.shape[:2])
    for name, values in _flat(frame).items():
        limit = tolerance if name in {"candidate", "hands", "faces"} else 1e-12
        yield Check(f"out_{name}", max_abs(values, case[f"out_{name}"]), limit)


def replay_nms(case: Case) -> Iterator[Check]:
    """Single-class and class-aware suppression."""
    threshold, candidate = float(case.meta["nms_thr"]), float(case.meta["score_thr"])
    boxes, scores = case["boxes"], case["scores"]
    kept = detection.nms(boxes, scores[:, 0], threshold)
    yield Check("keep_class0", max_abs(kept, case["keep_class0"]), 0)
    found = detection.class_nms(boxes, scores, candidate_score=candidate, threshold=threshold)
    yield Check("dets", max_abs(found, case["dets"]), 0)


def replay_warp_matrix(case: Case) -> Iterator[Check]:
    """Affine crops of boxes."""
    width, height = (int(v) for v in case.meta["out_wh"])
    centres, extents = estimation.box_centre_and_size(case["boxes"], width / height)
    matrices = [
        estimation.crop_matrix(c, e, height, width) for c, e in zip(centres, extents, strict=True)
    ]
    yield Check("centers", relative_to_peak(centres, case["centers"]), 1e-9)
    yield Check("scales", relative_to_peak(extents, case["scales"]), 1e-9)
    yield Check("matrices", relative_to_peak(np.stack(matrices), case["matrices"]), 1e-5)


def raster_checks(name: str, actual: np.ndarray, expected: np.ndarray) -> Iterator[Check]:
    """At most 1 % of the pixels differ by more than 8, mean difference under 0.5."""
    yield Check(f"{name} shape", max_abs(actual.shape, expected.shape), 0)
    if actual.shape == expected.shape:
        difference = np.abs(actual.astype(np.int16) - expected)
        yield Check(f"{name} pixels", float((difference > 8).mean()), DIFFERING_PIXELS)
        yield Check(f"{name} mean", float(difference.mean()), RASTER_MEAN)


def replay_draw(case: Case) -> Iterator[Check]:
    """Pose raster at target size, and the body layer alone."""
    frame = recorded_frame(case)
    yield _constants(case.meta, {"supersample_short_side": CANVAS_SHORT_SIDE})
    height, width = int(case.meta["H"]), int(case.meta["W"])
    yield from raster_checks("raster", draw_pose(frame, height, width), case["raster"])
    if "body_only" in case:
        layer = Raster(case["body_only"].shape[:2])
        draw_body(layer, frame)
        yield from raster_checks("body_only", layer.image, case["body_only"])


def _driving(case: Case) -> list[Frame]:
    found = [re.fullmatch(r"in(\d+)_candidate", key) for key in case.keys()]  # noqa: SIM118
    numbers = sorted(int(match[1]) for match in found if match)
    return [recorded_frame(case, f"in{number}_") for number in numbers]


def replay_align(case: Case) -> Iterator[Check]:
    """Frame selection, alignment, and the rasters of the aligned poses."""
    meta = case.meta
    height, width = (int(v) for v in meta["ref_hw"])
    video_height, video_width = (int(v) for v in meta["video_hw"])
    fps = float(meta["avg_fps"])
    yield _constants(meta, {"ref_ids": ALIGNMENT_KEYPOINTS})
    indices = sizes.sampled_frames(int(meta["n_video_frames"]), fps, int(meta["sample_stride"]))
    yield Check("frame_indices", max_abs(indices, meta["frame_indices"]), 0)
    driving = PoseTrack.from_frames(_driving(case), indices, video_height, video_width, fps)
    reference = PoseTrack.from_frames([recorded_frame(case, "ref_")], [0], height, width, 0.0)
    aligned = align_pair(reference, driving, OFFICIAL)
    yield Check("a", relative_to_peak(aligned.scale, case["a"]), 1e-9)
    yield Check("b", relative_to_peak(aligned.shift, case["b"]), 1e-9)
    for index in range(len(driving)):
        flat = _flat(aligned.poses[index + 1])
        for name in ("candidate", "faces"):
            expected = case[f"out{index}_{name}"]
            yield Check(f"out{index}_{name}", max_abs(flat[name], expected), 1e-9)
    rasters = [draw_pose(aligned.poses[i + 1], height, width) for i in range(len(driving))]
    yield from raster_checks("raster0", rasters[0], case["raster0"])
    means = [raster.mean() for raster in rasters]
    # OpenCV releases differ by 0.0015 grey levels in one or two of these frames.
    yield Check("raster_mean", max_abs(means, case["raster_mean"]), 5e-3)


def replay_resized(case: Case) -> Iterator[Check]:
    """Cover resize and centre crop; one grey level on under 0.1 % of the pixels."""
    image, expected = case["image_u8"], case["out_u8"]
    target = sizes.target_size(*image.shape[:2], int(case.meta["resolution"]))
    actual = sizes.cover_resize(image, *target).transpose(2, 0, 1)
    yield Check("worst pixel", max_abs(actual, expected), 1)
    if actual.shape == expected.shape:
        yield Check("differing pixels", float((actual != expected).mean()), 1e-3)


def replay_target_size(case: Case) -> Iterator[Check]:
    """Table of sizes and crop offsets."""
    column = {name: index for index, name in enumerate(case.meta["columns"])}
    rows = []
    for row in case["table"]:
        height, width = int(row[column["h"]]), int(row[column["w"]])
        target = sizes.target_size(height, width, int(row[column["resolution"]]))
        cover = sizes.cover_size(height, width, *target)
        offsets = [sizes.crop_offset(a, b) for a, b in zip(cover, target, strict=True)]
        rows.append([*target, *cover, *offsets])
    names = ("h_target", "w_target", "h_resize", "w_resize", "crop_top", "crop_left")
    yield Check("table", max_abs(rows, case["table"][:, [column[name] for name in names]]), 0)


def replay_frame_sampling(case: Case) -> Iterator[Check]:
    """Table of strides and frame counts."""
    column = {name: index for index, name in enumerate(case.meta["columns"])}
    rows = []
    for row in case["table"]:
        fps, stride = float(row[column["avg_fps"]]), int(row[column["sample_stride"]])
        indices = sizes.sampled_frames(int(row[column["n_frames"]]), fps, stride)
        rows.append([sizes.effective_stride(stride, fps), len(indices), indices[-1]])
    names = ("effective_stride", "n_sampled", "last_index")
    yield Check("table", max_abs(rows, case["table"][:, [column[name] for name in names]]), 0)


def replay_onnx_io(case: Case) -> Iterator[Check]:
    """The shapes our pre- and post-processing take and give are those of the published files."""
    detector, estimator = case.json["yolox_l"], case.json["dw_ll_ucoco_384"]
    _, channels, height, width = detector["input"]["shape"]
    blank = np.zeros((48, 64, 3), dtype=np.uint8)
    planes = detection.network_input([detection.letterbox(blank, height, width)[0]])
    yield Check("detector input", max_abs(planes.shape, (1, channels, height, width)), 0)
    cells, values = detector["output"]["shape"][1:]
    raw = np.zeros((cells, values), dtype=np.float32)
    yield Check(
        "detector cells", max_abs(detection.decode_boxes(raw, height, width).shape, (cells, 4)), 0
    )
    height, width = estimator["input"]["shape"][2:]
    crop = estimation.crop_person(
        blank, np.array([32.0, 24.0]), np.array([64.0, 48.0]), height, width
    )
    planes = estimation.network_input([crop])
    yield Check("pose input", max_abs(planes.shape, (1, 3, height, width)), 0)
    bins = {output["name"]: output["shape"][1:] for output in estimator["outputs"]}
    expected = ([133, width * estimation.SPLIT_RATIO], [133, height * estimation.SPLIT_RATIO])
    yield Check("simcc_x", max_abs(bins["simcc_x"], expected[0]), 0)
    yield Check("simcc_y", max_abs(bins["simcc_y"], expected[1]), 0)


FAMILIES = [
    Family("dwpose/pipeline*", replay_pipeline),
    Family("dwpose/nms*", replay_nms),
    Family("dwpose/warp_matrix*", replay_warp_matrix),
    Family("draw/*", replay_draw),
    Family("align/*", replay_align),
    Family("image/resized*", replay_resized),
    Family("image/target_size*", replay_target_size),
    Family("pure/frame_sampling*", replay_frame_sampling),
    Family("manifests/onnx_io*", replay_onnx_io),
]
