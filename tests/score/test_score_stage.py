from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from dispose_stages.artifacts import (
    Frame,
    Latents,
    MotionField,
    PoseTrack,
    Retargeting,
    Scores,
)
from dispose_stages.batch.stage import Context, InterruptedUnitError
from dispose_stages.batch.unit import Result, Status
from dispose_stages.config import load_config
from dispose_stages.config_encoding import Encoding
from dispose_stages.errors import Reason, UnitError
from dispose_stages.score import similarity
from dispose_stages.score.stage import STAGE, ScoreWorker
from dispose_stages.score.truth import aligned_frame
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.video import VideoReader
from dispose_stages.store.video_writer import VideoWriter
from tests.score import small_networks
from tests.toy_run import compute, ready

BUNDLE = Path(__file__).parents[2] / "bundles" / "small"
HEIGHT, WIDTH, COUNT = 192, 128, 18
MOTION, SAMPLE, SCORE = "30" * 20, "5a" * 20, "5c" * 20


def picture(seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 16, 3), np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def clip(seed=0, count=COUNT):
    return [np.roll(picture(seed), 2 * index, axis=1) for index in range(count)]


def write_video(path, frames):
    encoding = Encoding(crf=1, preset="ultrafast", pixel_format="yuv444p")
    with VideoWriter(path, frames[0].shape[:2], 15.0, encoding) as writer:
        for frame in frames:
            writer.write(np.ascontiguousarray(frame))


def figure():
    """A pose that fills the frame, face included."""
    keypoints = np.random.default_rng(1).uniform(0.3, 0.7, (1, 134, 2))
    return Frame(keypoints, np.ones((1, 134)), np.zeros((1, 4)), np.ones(1))


@pytest.fixture
def files(tmp_path):
    """Weights of every group."""
    small_networks.write_lpips(tmp_path / "vgg.pth")
    small_networks.write_inception(tmp_path / "inception.pth")
    small_networks.write_i3d(tmp_path / "i3d.pt")
    small_networks.write_videomae(tmp_path / "videomae")
    small_networks.write_face(tmp_path / "face.onnx")
    return {
        "lpips_weights": str(tmp_path / "vgg.pth"),
        "fid_weights": str(tmp_path / "inception.pth"),
        "fvd_weights": str(tmp_path / "i3d.pt"),
        "cd_fvd_weights": str(tmp_path / "videomae"),
        "identity_weights": str(tmp_path / "face.onnx"),
    }


@pytest.fixture
def context(tmp_path):
    """A delivered video, its latents, its truth at every second frame of the driver, its pose."""
    store = ArtifactStore(tmp_path / "store")
    poses = PoseTrack.from_frames(
        [figure()] * (COUNT + 1), [-1, *range(0, 2 * COUNT, 2)], HEIGHT, WIDTH, 30.0
    )
    flow = np.zeros((COUNT, 2, 192, 192), np.int16)
    person = np.zeros(COUNT + 1, dtype=np.int64)
    motion = MotionField(poses, person, flow, HEIGHT, WIDTH, (0.9, 0.9), (0.05, 0.1), 0.01)
    store.write("motion", MOTION, motion, {})
    latents = np.random.default_rng(0).normal(size=(COUNT + 1, 4, 24, 16)).astype(np.float16)
    store.write("sample", SAMPLE, Latents(latents), {})
    videos = tmp_path / "videos"
    videos.mkdir()
    write_video(videos / "p.mp4", [cv2.GaussianBlur(f, (0, 0), 1) for f in clip()])
    driver = [frame for frame in clip() for _ in range(2)]
    write_video(tmp_path / "driver.mp4", driver)
    config = {"compute": {"device": "cpu", "threads": 2}, "store": str(tmp_path / "store")}
    return Context(load_config(config), store, BUNDLE, "cpu", videos)


def unit_of(context, group, *, facts=None, driving_pose=None, **params):
    """A unit as planning makes it."""
    driver = context.videos.parent / "driver.mp4"
    media = {"frames": 2 * COUNT, "fps": 30.0, "width": WIDTH, "height": HEIGHT}
    inputs = {
        "motion": ("motion", MOTION),
        "video": ("mux", "0f" * 20, {"file": "p.mp4", "fps": 15.0}),
        "latents": ("sample", SAMPLE),
        "driver": ("ingest", "d", media),
        "truth": ("ingest", "d", media | (facts or {})),
        **{f"weights_{n}": ("ingest", f"w{n}") for n in range(2)},
        **({"driving_pose": driving_pose} if driving_pose else {}),
    }
    settings = {
        "group": group,
        "shown": "delivered",
        "definitions": ["correct", "disco"],
        "tile_size": 6,
        "tile_overlap": 2,
        "lpips_backbone": "vgg",
        "window_frames": 16,
        "window_stride": 1,
        "identity_mean": 127.5,
        "identity_scale": 127.5,
    }
    sources = {"truth": driver, "image": driver}
    return ready("score", SCORE, settings | {"reference_frame": 0} | params, sources, inputs)


def scores_of(context, unit):
    """Computed, committed, found again and read back."""
    repository = STAGE.repository(context)
    assert repository.find(unit) is None
    done = repository.commit(unit, compute(ScoreWorker(context), unit))
    assert repository.find(unit) == done
    return done, context.store.read("score", SCORE, Scores)


@pytest.mark.parametrize(("fps", "scored"), [(30.0, True), (24.0, False)])
def test_interpolated_frames_are_left_out(context, fps, scored):
    """Every second frame of a video at twice the rate is one that was made; at another, not all."""
    with VideoReader(context.videos / "p.mp4") as video:
        made = [frame for _, frame in video.frames(range(COUNT))]
    doubled = [frame for own in made for frame in (own, 255 - own)]
    write_video(context.videos / "i.mp4", doubled)
    unit = unit_of(context, "frames", against="plain")
    facts = {"file": "i.mp4", "fps": fps, "made_fps": 15.0}
    video = replace(unit.inputs["video"], facts=facts)
    unit = replace(unit, inputs={**unit.inputs, "video": video})
    plain = compute(ScoreWorker(context), unit_of(context, "frames", against="plain"))
    found = compute(ScoreWorker(context), unit)
    if not scored:
        assert (found.metrics, found.missing) == (("frames",), ("interpolated",))
        return
    psnr = found.metrics.index("psnr")
    assert found.values[psnr] == pytest.approx(plain.values[psnr], abs=0.7)
    assert found.frame_values.shape == plain.frame_values.shape


def test_frames_against_the_driver(context):
    """Frame i of the result with the driving frame it was made from; the ledger has the values."""
    done, scores = scores_of(context, unit_of(context, "frames", against="plain"))
    with VideoReader(context.videos / "p.mp4") as video:
        result = [frame for _, frame in video.frames(range(COUNT))]
    with VideoReader(context.videos.parent / "driver.mp4") as video:
        truth = [frame for _, frame in video.frames(range(0, 2 * COUNT, 2))]
    wanted = [similarity.psnr(r, t) for r, t in zip(result, truth, strict=True)]
    row = scores.frame_values[scores.frame_metrics.index("psnr")]
    assert row.tolist() == wanted
    assert done.facts["values"]["psnr"] == pytest.approx(np.mean(wanted))
    assert done.facts["missing"]["ms_ssim"] == "too_small"
    assert done.facts["values"]["alignment_scale_y"] == 0.9
    assert done.facts["values"]["seam_flicker"] == pytest.approx(0, abs=0.01)


def test_the_protocol_says_what_the_numbers_depend_on(context):
    """Pairing, weights and rules; equal settings have one fingerprint, others another."""
    _, scores = scores_of(context, unit_of(context, "frames", against="plain"))
    protocol = json.loads(scores.protocol)
    assert protocol["pair"]["driver_frames"] == list(range(0, 2 * COUNT, 2))
    assert protocol["pair"]["inputs"]["video"] == "d"
    assert protocol["shared"]["codec"] == "delivered"
    assert protocol["shared"]["settings"]["definitions"] == ["correct", "disco"]
    worker = ScoreWorker(context)
    other = worker.read(unit_of(context, "frames", against="plain", definitions=["correct"]))
    assert json.loads(other["protocol"])["shared"] != protocol["shared"]
    same = worker.read(unit_of(context, "frames", against="plain", tile_size=8))
    assert json.loads(same["protocol"])["shared"] == protocol["shared"]
    pose = json.loads(worker.read(unit_of(context, "pose"))["protocol"])["shared"]
    assert len(pose["weights"]["dwpose/yolox_l.onnx"]) == 64


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"frames": 2 * COUNT - 2}, "truth_short"),
        ({"fps": 25.0}, "truth_other_rate"),
        ({"height": WIDTH, "width": HEIGHT}, "truth_other_shape"),
    ],
)
def test_an_unusable_truth_leaves_the_rest(context, facts, reason):
    """What needs it says why; flicker is measured all the same."""
    done, _ = scores_of(context, unit_of(context, "frames", facts=facts, against="plain"))
    assert done.facts["missing"]["psnr"] == reason
    assert done.facts["missing"]["flicker_excess"] == reason
    assert done.facts["values"]["flicker"] > 0


UNREADABLE = Result(Status.FAILED, reason=Reason.MEDIA_UNREADABLE, message="no video")


@pytest.mark.parametrize(
    "truth", [UNREADABLE, replace(UNREADABLE, reason=Reason.MEDIA_MISSING)], ids=lambda r: r.reason
)
def test_a_truth_that_ingest_could_not_use_costs_its_metrics_alone(context, truth):
    """The result is measured all the same, by every group."""
    unit = unit_of(context, "frames", against="plain")
    done, scores = scores_of(context, replace(unit, inputs={**unit.inputs, "truth": truth}))
    needing = {"l1", "psnr", "ssim", "ms_ssim", "l1_disco", "psnr_disco", "ssim_disco"}
    needing |= {"true_flicker", "flicker_excess"}
    lost = {n for n, why in done.facts["missing"].items() if why == "truth_unreadable"}
    assert lost == needing
    assert done.facts["values"]["flicker"] > 0
    assert scores.frame_values.shape[1] == COUNT
    context.store.remove("score", SCORE)
    unit = unit_of(context, "lpips", against="plain")
    done, _ = scores_of(context, replace(unit, inputs={**unit.inputs, "truth": truth}))
    assert set(done.facts["missing"].values()) == {"truth_unreadable"}


def cut_off(path, share=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize("group", ["frames", "fid"])
def test_a_truth_that_breaks_off_is_no_fault_of_the_result(context, files, group):
    """Ingest counted its frames; the job cannot decode them all. Nothing is left out."""
    context = with_weights(context, files)
    driver = context.videos.parent / "driver.mkv"
    write_video(driver, [frame for frame in clip() for _ in range(2)])
    cut_off(driver)
    shown = {"frames": "delivered", "fid": "truth"}[group]
    unit = unit_of(context, group, against="plain", shown=shown)
    done, _ = scores_of(context, replace(unit, sources={"truth": str(driver)}))
    name = {"frames": "psnr", "fid": "fid_features"}[group]
    assert done.facts["missing"][name] == "truth_unreadable"
    assert ("flicker" in done.facts["values"]) == (group == "frames")


def test_a_result_that_breaks_off_fails_the_unit(context):
    """With the reason of the file, not as if the truth were at fault."""
    path = context.videos / "p.mp4"
    write_video(path.with_suffix(".mkv"), clip())
    path.write_bytes(path.with_suffix(".mkv").read_bytes())
    cut_off(path)
    with pytest.raises(UnitError) as caught:
        compute(ScoreWorker(context), unit_of(context, "frames", against="plain"))
    assert caught.value.reason is Reason.MEDIA_UNREADABLE


def test_one_frame(context):
    """Is compared with its truth; what needs two frames says so, no value is a zero."""
    write_video(context.videos / "p.mp4", clip(count=1))
    motion = context.store.read("motion", MOTION, MotionField)
    poses = PoseTrack.from_frames([figure()] * 2, [-1, 0], HEIGHT, WIDTH, 30.0)
    one = replace(motion, poses=poses, person=motion.person[:2], cmp_flow=motion.cmp_flow[:1])
    context.store.remove("motion", MOTION)
    context.store.write("motion", MOTION, one, {})
    done, _ = scores_of(context, unit_of(context, "frames", against="plain"))
    assert done.facts["values"]["psnr"] > 10
    for name in ("flicker", "true_flicker", "flicker_excess", "warping_error", "seam_flicker"):
        assert done.facts["missing"][name] == "one_frame"
    assert done.facts["missing"]["drift_colour"] == "short_clip"


def test_frames_that_are_no_numbers_fail_the_unit(context):
    """Latents of nan cannot be decoded: no value, a reason."""
    latents = np.full((COUNT + 1, 4, 24, 16), np.nan, np.float16)
    context.store.remove("sample", SAMPLE)
    context.store.write("sample", SAMPLE, Latents(latents), {})
    unit = unit_of(
        context, "frames", shown="before_codec", decode_chunk_size=8, precision="fp32"
    )  # fmt: skip
    with pytest.raises(UnitError) as caught:
        compute(ScoreWorker(context), unit)
    assert caught.value.reason is Reason.NUMERIC


def test_an_aligned_truth_is_masked(context):
    """Only where the moved frame lies; a result that equals it there is perfect."""
    with VideoReader(context.videos.parent / "driver.mp4") as video:
        frames = [frame for _, frame in video.frames(range(0, 2 * COUNT, 2))]
    place = {"scale": (0.9, 0.9), "shift": (0.05, 0.1), "height": HEIGHT, "width": WIDTH}
    write_video(context.videos / "p.mp4", [aligned_frame(f, **place)[0] for f in frames])
    aligned, _ = scores_of(context, unit_of(context, "frames", against="aligned"))
    context.store.remove("score", SCORE)
    plain, _ = scores_of(context, unit_of(context, "frames", against="plain"))
    assert aligned.facts["values"]["psnr"] > plain.facts["values"]["psnr"] + 10


def test_limbs_moved_one_by_one_have_a_fit_of_their_own(context):
    """A truth is moved as the pair's pose was, not as the official fit would have it."""
    own = {"scale": (0.6, 0.6), "shift": (0.25, 0.15)}
    motion = context.store.read("motion", MOTION, MotionField)
    driving = PoseTrack.from_frames([figure()] * COUNT, list(range(COUNT)), HEIGHT, WIDTH, 30.0)
    context.store.write("pose", "9a" * 20, driving, {})
    keypoints = motion.poses.keypoints.copy()
    keypoints[1:] = keypoints[1:] * own["scale"] + own["shift"]
    none = np.zeros(0)
    followed = Retargeting(True, (), none, none, none, none.astype(bool), 1, 9, 0, 0, 0)
    moved = replace(
        motion, poses=replace(motion.poses, keypoints=keypoints), retargeting=followed
    )  # fmt: skip
    context.store.remove("motion", MOTION)
    context.store.write("motion", MOTION, moved, {})
    with VideoReader(context.videos.parent / "driver.mp4") as video:
        frames = [frame for _, frame in video.frames(range(0, 2 * COUNT, 2))]
    place = own | {"height": HEIGHT, "width": WIDTH}
    write_video(context.videos / "p.mp4", [aligned_frame(f, **place)[0] for f in frames])
    unit = unit_of(context, "frames", against="aligned", driving_pose=("pose", "9a" * 20))
    fitted, _ = scores_of(context, unit)
    assert fitted.facts["values"]["psnr"] > 40
    assert fitted.facts["values"]["alignment_scale_y"] == pytest.approx(0.6)
    context.store.remove("score", SCORE)
    official, _ = scores_of(context, unit_of(context, "frames", against="aligned"))
    assert official.facts["values"]["psnr"] < 25


def test_without_a_truth(context):
    """Typed, for every metric that needs one."""
    done, _ = scores_of(context, unit_of(context, "frames"))
    assert done.facts["missing"]["ssim"] == "no_truth"
    context.store.remove("score", SCORE)
    done, _ = scores_of(context, unit_of(context, "lpips"))
    assert done.facts["missing"] == {"lpips": "no_truth", "lpips_disco": "no_truth"}


def with_weights(context, files):
    config = context.config.model_copy(
        update={"score": context.config.score.model_copy(update=files)}
    )
    return Context(config, context.store, BUNDLE, "cpu", context.videos)


def test_every_group_with_weights(context, files):
    """LPIPS per frame; features of frames and windows, of the result and of the truth."""
    context = with_weights(context, files)
    done, scores = scores_of(context, unit_of(context, "lpips", against="plain"))
    assert done.facts["values"]["lpips"] > 0
    assert done.facts["values"]["lpips"] != done.facts["values"]["lpips_disco"]
    assert len(json.loads(scores.protocol)["shared"]["weights"]["heads"]) == 64
    for group, count, width in (("fid", COUNT, 2048), ("fvd", 3, 8), ("cd_fvd", 3, 16)):
        for shown in ("delivered", "truth"):
            context.store.remove("score", SCORE)
            done, scores = scores_of(context, unit_of(context, group, shown=shown))
            assert done.facts["values"] == {f"{group}_features": count}
            assert scores.features.shape == (count, width)


def test_a_clip_shorter_than_a_window(context, files):
    """Has no features, and says so."""
    context = with_weights(context, files)
    done, scores = scores_of(context, unit_of(context, "fvd", window_frames=COUNT + 1))
    assert done.facts["missing"] == {"fvd_features": "short_clip"}
    assert scores.features is None


def test_pose_and_identity_of_a_video_without_a_person(context, files):
    """The pipeline's own detector sees nobody in a texture."""
    context = with_weights(context, files)
    done, scores = scores_of(context, unit_of(context, "pose"))
    assert done.facts["values"]["persons_none"] + done.facts["values"]["persons_one"] <= 1
    assert done.facts["values"]["missing_body"] > 0.5
    assert len(scores.poses) == COUNT
    assert (scores.poses.height, scores.poses.width) == (HEIGHT, WIDTH)
    context.store.remove("score", SCORE)
    done, _ = scores_of(context, unit_of(context, "identity"))
    assert set(done.facts["values"]) | set(done.facts["missing"]) == {
        "identity",
        "identity_frames",
    }


def test_before_the_codec(context):
    """Frames decoded again from the latents, as for the video: with as much context."""

    def unit(**params):
        own = {"shown": "before_codec", "against": "plain", "decode_chunk_size": 2}
        return unit_of(context, "frames", precision="fp32", **own | params)

    done, scores = scores_of(context, unit())
    context.store.remove("score", SCORE)
    other, _ = scores_of(context, unit(decode_context=1))
    assert other.facts["values"]["psnr"] != done.facts["values"]["psnr"]
    assert scores.frame_values.shape[1] == COUNT
    assert done.facts["values"]["psnr"] < 30
    assert json.loads(scores.protocol)["shared"]["codec"] == "before_codec"


def test_a_job_that_is_asked_to_stop(context):
    """Leaves the unit for the next one."""
    context.stop_requested = lambda: True
    with pytest.raises(InterruptedUnitError):
        compute(ScoreWorker(context), unit_of(context, "frames"))


def test_the_ledger_alone_gives_equal_bytes(context):
    """Facts hold no number that JSON does not know."""
    done, _ = scores_of(context, unit_of(context, "frames"))
    assert isinstance(done, Result)
    json.dumps(dict(done.facts), allow_nan=False)
