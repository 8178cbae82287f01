from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from dispose_stages.artifacts import Frame, PoseTrack
from dispose_stages.batch.stage import Context
from dispose_stages.config import Config
from dispose_stages.errors import DeviceError, WarningCode, WeightsError
from dispose_stages.pose.stage import STAGE
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.weights.loading.dwpose import CUDA
from tests.pose import fakes
from tests.toy_run import compute, ready


def write_constant_network(path, size, *outputs):
    """A network that answers every image with the same arrays."""
    source = helper.make_tensor_value_info("in", TensorProto.FLOAT, [1, 3, *size])
    nodes = [
        helper.make_node("ReduceMean", ["in"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["zero"]),
    ]
    made, constants = [], []
    for number, array in enumerate(outputs):
        nodes.append(helper.make_node("Add", [f"c{number}", "zero"], [f"out{number}"]))
        constants.append(numpy_helper.from_array(array.astype(np.float32), f"c{number}"))
        made.append(helper.make_tensor_value_info(f"out{number}", TensorProto.FLOAT, array.shape))
    graph = helper.make_graph(nodes, "constant", [source], made, constants)
    path.parent.mkdir(parents=True, exist_ok=True)
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


@pytest.fixture
def bundle(tmp_path):
    """A detector that sees one box and a head that sees its middle, at small input sizes."""
    image = fakes.scene(*fakes.DETECTOR_SIZE, (40, 20, 100, 140))
    boxes = fakes.detect(image.transpose(2, 0, 1)[None].astype(np.float32))
    simcc = fakes.estimate(np.full((1, 3, *fakes.ESTIMATOR_SIZE), 2.0, np.float32))
    root = tmp_path / "models"
    write_constant_network(root / "dwpose" / "yolox_l.onnx", fakes.DETECTOR_SIZE, boxes)
    head = root / "dwpose" / "dw-ll_ucoco_384.onnx"
    write_constant_network(head, fakes.ESTIMATOR_SIZE, *simcc)
    return root


def context(tmp_path, root, device="cpu", *, allow_cpu=True):
    """Surroundings of a job."""
    config = Config.model_validate({"compute": {"allow_cpu": allow_cpu, "threads": 1}})
    return Context(config, ArtifactStore(tmp_path / "store"), root, device, tmp_path)


def test_input_sizes_come_from_the_files(tmp_path, bundle):
    """A bundle with smaller inputs works; the box is scaled back from 160 to 128 pixels."""
    Image.new("RGB", (100, 100)).save(tmp_path / "a.png")
    params, sources = {"kind": "image", "resolution": 128}, {"image": tmp_path / "a.png"}
    unit = ready("pose", "ab" * 16, params, sources)
    track = compute(STAGE.open(context(tmp_path, bundle)), unit)
    expected = np.array([[40, 20, 100, 140]]) * 128 / 160
    np.testing.assert_allclose(track.boxes, expected, rtol=1e-5)
    np.testing.assert_allclose(track.keypoints[0, 0] * 128, [56, 64], atol=0.1)


def test_missing_network(tmp_path, bundle):
    """The missing file is named."""
    (bundle / "dwpose" / "yolox_l.onnx").unlink()
    with pytest.raises(WeightsError, match="yolox_l"):
        STAGE.open(context(tmp_path, bundle))


@pytest.mark.skipif(
    CUDA in onnxruntime.get_available_providers(), reason="this ONNX Runtime has CUDA"
)
def test_cuda_without_cuda(tmp_path, bundle):
    """A job on a GPU node does not silently run on the CPU unless it may."""
    with pytest.raises(DeviceError, match="no CUDA provider"):
        STAGE.open(context(tmp_path, bundle, "cuda", allow_cpu=False))
    STAGE.open(context(tmp_path, bundle, "cuda"))


@pytest.mark.parametrize(
    ("cuts", "told"),
    [((), []), ((4,), []), ((6, 9, 12), [6, 9]), ((10,), [10]), ((11, 60), [])],
)
def test_cuts_between_the_frames_that_are_used_are_told(tmp_path, bundle, cuts, told):
    """A cut counts if frames on both sides of it are used; what is found tells the same."""
    frame = Frame(np.zeros((1, 134, 2)), np.zeros((1, 134)), np.ones((1, 4)), np.ones(1))
    track = PoseTrack.from_frames([frame] * 4, [4, 6, 8, 10], 100, 100, 25.0)
    params = {"kind": "video", "sample_stride": 2, "start_frame": 4, "max_frames": 4}
    media = {"media": ("ingest", "digest", {"scene_cuts": list(cuts)})}
    unit = ready("pose", "ab" * 16, params, {"video": tmp_path / "a.mp4"}, media)
    repository = STAGE.repository(context(tmp_path, bundle))
    result = repository.commit(unit, track)
    assert result.facts.get("scene_cuts", []) == told
    assert result.warnings == ((WarningCode.SCENE_CUTS,) if told else ())
    assert repository.find(unit) == result
