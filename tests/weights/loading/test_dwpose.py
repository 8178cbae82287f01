from __future__ import annotations

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from dispose_stages.errors import DeviceError, Reason, UnitError, WeightsError
from dispose_stages.weights.loading.dwpose import (
    CPU,
    CUDA,
    check_provider,
    load_dwpose,
    open_network,
)


def write_network(path, batch, *, outputs=("out",), size=(4, 6)):
    """Output i is the input times i + 1, averaged over rows: (batch, 3, W)."""
    shape = [batch, 3, *size]
    nodes, made = [], []
    for number, name in enumerate(outputs):
        factor = helper.make_tensor(f"factor{number}", TensorProto.FLOAT, [], [number + 1.0])
        nodes += [
            helper.make_node("Constant", [], [f"c{number}"], value=factor),
            helper.make_node("ReduceMean", ["in"], [f"m{number}"], axes=[2], keepdims=0),
            helper.make_node("Mul", [f"m{number}", f"c{number}"], [name]),
        ]
        made.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 3, size[1]]))
    graph = helper.make_graph(
        nodes, "fake", [helper.make_tensor_value_info("in", TensorProto.FLOAT, shape)], made
    )
    opset = [helper.make_opsetid("", 13)]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def images(count):
    """Random input."""
    return np.random.default_rng(0).standard_normal((count, 3, 4, 6)).astype(np.float32)


def open_on_cpu(path, **options):
    """On the CPU unless said otherwise."""
    return open_network(path, **{"device": "cpu", "allow_cpu": False, **options})


@pytest.mark.parametrize(
    ("batch", "dynamic", "size"), [("N", True, 3), (1, False, 1), (4, False, 4)]
)
def test_batches_follow_the_file(tmp_path, batch, dynamic, size):
    """A dynamic axis takes the configured batch, a fixed one its own size; results agree."""
    network = open_on_cpu(write_network(tmp_path / "a.onnx", batch), batch_size=3)
    assert (network.dynamic_batch, network.batch_size) == (dynamic, size)
    assert network.input_size == (4, 6)
    seen = []
    run = network._run
    network._run = lambda chunk: seen.append(len(chunk)) or run(chunk)
    (out,) = network(images(7))
    np.testing.assert_allclose(out, images(7).mean(axis=2), rtol=1e-5, atol=1e-6)
    assert seen == {"N": [3, 3, 1], 1: [1] * 7, 4: [4, 4]}[batch]


def test_less_memory_takes_images_one_by_one(tmp_path):
    """The same numbers; where one image is too much, that is said as everywhere."""
    network = open_on_cpu(write_network(tmp_path / "a.onnx", "N"), batch_size=4)
    run, limit, seen = network._run, [1], []

    def short_of_memory(chunk):
        seen.append(len(chunk))
        if len(chunk) > limit[0]:
            raise Fail("[ONNXRuntimeError] : 1 : FAIL : Failed to allocate memory for requested")
        return run(chunk)

    network._run = short_of_memory
    np.testing.assert_allclose(network(images(5))[0], images(5).mean(axis=2), rtol=1e-5, atol=1e-6)
    assert seen == [4, 1, 1, 1, 1, 1]
    limit[0] = 0
    with pytest.raises(UnitError) as caught:
        network(images(2))
    assert caught.value.reason is Reason.OUT_OF_MEMORY


def test_all_outputs_in_order(tmp_path):
    """Names do not matter, order does: x, then y."""
    detector = write_network(tmp_path / "detector.onnx", 1, outputs=("boxes", "extra"))
    estimator = write_network(tmp_path / "estimator.onnx", "N", outputs=("zz", "aa"))
    model = load_dwpose(detector, estimator, device="cpu", allow_cpu=False, batch_size=2)
    mean = images(3).mean(axis=2)
    np.testing.assert_allclose(model.detector(images(3)), mean, rtol=1e-5, atol=1e-6)
    simcc_x, simcc_y = model.estimator(images(3))
    np.testing.assert_allclose(simcc_x, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(simcc_y, 2 * mean, rtol=1e-5, atol=1e-6)


def test_missing_file(tmp_path):
    """Named in the message."""
    with pytest.raises(WeightsError, match=r"none\.onnx is missing"):
        open_on_cpu(tmp_path / "none.onnx")


def test_a_file_that_is_no_network(tmp_path):
    """A half-downloaded file or an error page."""
    path = tmp_path / "a.onnx"
    path.write_bytes(b"<html>")
    with pytest.raises(WeightsError, match="cannot load"):
        open_on_cpu(path)


def test_input_without_a_size(tmp_path):
    """The crop's size is read from the file, so it must be there."""
    path = write_network(tmp_path / "a.onnx", 1, size=("h", 6))
    with pytest.raises(WeightsError, match="must be"):
        open_on_cpu(path)


@pytest.mark.parametrize(
    ("available", "cause"),
    [([CPU], "onnxruntime-gpu"), ([CUDA, CPU], "cuDNN")],
    ids=["cpu package", "libraries missing"],
)
def test_cuda_that_came_up_on_the_cpu(tmp_path, caplog, available, cause):
    """An error with the likely cause, or a warning where the CPU is allowed."""
    path = tmp_path / "yolox_l.onnx"
    with pytest.raises(DeviceError, match=cause) as caught:
        check_provider([CPU], available, path=path, allow_cpu=False)
    assert "allow_cpu" in str(caught.value)
    with caplog.at_level(logging.WARNING):
        check_provider([CPU], available, path=path, allow_cpu=True)
    assert cause in caplog.text


def test_cuda_that_is_there(tmp_path, caplog):
    """Nothing to say."""
    check_provider([CUDA, CPU], [CUDA, CPU], path=tmp_path, allow_cpu=False)
    assert not caplog.records


@pytest.mark.skipif(
    CUDA in onnxruntime.get_available_providers(), reason="this ONNX Runtime has CUDA"
)
def test_asking_for_cuda_without_it(tmp_path):
    """The real session: refused, or on the CPU with the same numbers."""
    path = write_network(tmp_path / "a.onnx", "N")
    with pytest.raises(DeviceError, match="no CUDA provider"):
        open_on_cpu(path, device="cuda")
    network = open_on_cpu(path, device="cuda", allow_cpu=True)
    assert network.device == "cpu"
    np.testing.assert_allclose(network(images(2))[0], images(2).mean(axis=2), rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(
    CUDA not in onnxruntime.get_available_providers(), reason="this ONNX Runtime has no CUDA"
)
def test_cuda_equals_cpu(tmp_path):
    """I/O binding on the device gives the CPU's numbers."""
    path = write_network(tmp_path / "a.onnx", "N", outputs=("a", "b"))
    network = open_on_cpu(path, device="cuda", batch_size=3)
    assert network.device == "cuda"
    for actual, expected in zip(network(images(7)), open_on_cpu(path)(images(7)), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
