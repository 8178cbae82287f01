"""Recordings come in other forms than those that lie here: made from these, replayed, and spoilt.

Each form must pass, and the same form with a wrong number must not.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dispose_stages.geometry.skeleton import to_openpose
from dispose_stages.models.whole_body import detection, estimation
from tests.parity import replay
from tests.parity.case import Case, stride_of
from tests.parity.families.pose import _flat

GOLDEN = Path(__file__).parent / "golden"
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept:DeprecationWarning"
)


def recorded(name):
    """Arrays and meta data of a recording."""
    case = Case(GOLDEN, GOLDEN / f"{name}.npz")
    return {key: case[key] for key in case.keys()}, dict(case.meta)  # noqa: SIM118 - no mapping


def verdict(tmp_path, name, arrays, meta):
    """Outcome of replaying these as the recording of that name, and what failed."""
    path = tmp_path / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, meta_json=np.array(json.dumps(meta)), **arrays)
    ((case, family),) = replay.find_cases(tmp_path)
    outcome, _, reason = replay.replay_case(case, family)
    return outcome, reason


def with_second_person(arrays, shift=0.1):
    """The same with somebody else in every frame."""
    points, persons = arrays["candidate"], arrays["subset"]
    others = np.where(persons >= 0, persons + 18, -1)
    return arrays | {
        "candidate": np.concatenate([points, points + shift], axis=1),
        "subset": np.concatenate([persons, others], axis=1),
    }


PERSONS = [
    "pure/flows_b",
    "pure/ref_dift_square",
    "modules/point_adapter_small",
    "pipeline/generator_only",
]


@pytest.mark.parametrize("name", PERSONS)
def test_of_several_persons_the_first_counts(tmp_path, name):
    """36 points to a frame replay like the first 18 alone."""
    arrays, meta = recorded(name)
    assert verdict(tmp_path, name, with_second_person(arrays), meta) == ("ok", "")


@pytest.mark.parametrize("name", PERSONS[:3])
def test_the_second_person_is_not_taken_for_the_first(tmp_path, name):
    """With their places exchanged the numbers are others."""
    arrays, meta = recorded(name)
    arrays = with_second_person(arrays)
    arrays["candidate"] = np.roll(arrays["candidate"], 18, axis=1)
    assert verdict(tmp_path, name, arrays, meta)[0] == "FAIL"


@pytest.mark.parametrize(("clips", "frames"), [(1, 3), (3, 1)])
def test_clips_through_the_pose_network(tmp_path, clips, frames):
    """Five axes in, one or several clips; out, frames or clips."""
    arrays, meta = recorded("modules/pose_net")
    clip = arrays["x"].reshape(clips, frames, *arrays["x"].shape[1:])
    flat = arrays | {"x": clip}
    assert verdict(tmp_path, "modules/pose_net", flat, meta) == ("ok", "")
    both = flat | {"y": arrays["y"].reshape(clips, frames, *arrays["y"].shape[1:])}
    assert verdict(tmp_path, "modules/pose_net", both, meta) == ("ok", "")
    spoilt = flat | {"x": clip[..., ::-1].copy()}
    assert verdict(tmp_path, "modules/pose_net", spoilt, meta)[0] == "FAIL"


@pytest.mark.parametrize(
    ("name", "step"),
    [("pure/gauss_199_20", 4), ("pure/gauss_199_20", 7), ("pure/gauss_5_1.2", 2)],
)
def test_kernels_may_be_recorded_subsampled(tmp_path, name, step):
    """Every n-th value in both directions."""
    arrays, meta = recorded(name)
    kernel = arrays["kernel"][::step, ::step]
    assert verdict(tmp_path, name, {"kernel": kernel}, meta) == ("ok", "")
    shifted = arrays["kernel"][1::step, 1::step]
    assert verdict(tmp_path, name, {"kernel": shifted}, meta)[0] == "FAIL"


def without_persons(empty):
    """A detection that found nobody: the recording of the whole image, in its two lengths."""
    arrays, meta = recorded("dwpose/pipeline_one")
    height, width = arrays["image_u8"].shape[:2]
    quiet = arrays["yolo_vals"].copy()
    quiet[:, 4] = 0.0  # no objectness
    pose_width, pose_height = meta["pose_input_wh"]
    box = np.array([[0.0, 0.0, width, height]])
    centres, extents = estimation.box_centre_and_size(box, pose_width / pose_height)
    crop = estimation.crop_person(
        arrays["image_u8"], centres[0], extents[0], pose_height, pose_width
    )
    simcc = {name: arrays[name][:1] for name in ("simcc_x", "simcc_y")}
    locations, scores = estimation.decode_simcc(simcc["simcc_x"], simcc["simcc_y"])
    keypoints = estimation.to_frame(locations, centres, extents, (pose_height, pose_width))
    points, confidence = to_openpose(keypoints, scores)
    frame = estimation.frame_pose(keypoints, scores, box, np.zeros(1), (height, width))
    made = {
        "yolo_vals": quiet,
        "boxes": empty,
        "centers": centres,
        "scales": extents,
        "warped_u8": crop[None],
        "keypoints133": keypoints,
        "scores133": scores,
        "keypoints134": points,
        "scores134": confidence,
        **{f"out_{name}": value for name, value in _flat(frame).items()},
        **simcc,
    }
    return arrays | made, meta


@pytest.mark.parametrize("empty", [np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5), np.float32)])
def test_nobody_is_recorded_without_a_box(tmp_path, empty):
    """The original then takes the whole image, and so does the replay."""
    arrays, meta = without_persons(empty)
    decoded = detection.decode_boxes(_raw(arrays), *meta["det_input"])
    arrays["decoded_sub"] = decoded[:: stride_of(len(arrays["decoded_sub"]), len(decoded))]
    assert verdict(tmp_path, "dwpose/pipeline_one", arrays, meta) == ("ok", "")
    found, _ = recorded("dwpose/pipeline_one")
    wrong = arrays | {"yolo_vals": found["yolo_vals"]}
    assert "boxes" in verdict(tmp_path, "dwpose/pipeline_one", wrong, meta)[1]


def _raw(arrays):
    raw = np.zeros((8400, arrays["yolo_vals"].shape[1]), dtype=np.float32)
    raw[arrays["yolo_rows"].astype(np.int64)] = arrays["yolo_vals"]
    return raw


@pytest.mark.parametrize(
    ("extra", "failing"),
    [
        ({"motion_bucket_id": 30}, "added_time_ids"),
        ({"fps": 24}, "added_time_ids"),
        ({"controlnet_cond_scale": 0.5}, "tile_ctrl_mid"),
    ],
)
def test_what_a_run_passed_beyond_the_usual_is_used(tmp_path, extra, failing):
    """A recording made without these is not met with them."""
    arrays, meta = recorded("pipeline/generator_only")
    outcome, reason = verdict(tmp_path, "pipeline/generator_only", arrays, meta | {"extra": extra})
    assert outcome == "FAIL"
    assert failing in reason


@pytest.mark.parametrize(
    "extra",
    [
        {"controlnet_cond_scale": 1.0, "motion_bucket_id": 127, "fps": 7},
        {"tile_overlap": 2},
        {"seed": 4003},
    ],
)
def test_the_usual_may_be_named(tmp_path, extra):
    """At their defaults they change nothing; what is said twice counts as said in `extra`."""
    arrays, meta = recorded("pipeline/generator_only")
    wrong = {name: 1 for name in extra if name in {"tile_overlap", "seed"}}
    replayed = verdict(tmp_path, "pipeline/generator_only", arrays, meta | wrong | {"extra": extra})
    assert replayed == ("ok", "")
