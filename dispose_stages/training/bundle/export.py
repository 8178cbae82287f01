"""Write the tiny detector and pose network as ONNX with DWPose's names and layout."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from dispose_stages.training.bundle.pose_networks import (
    DETECTOR_SIZE,
    POSE_HEIGHT,
    POSE_WIDTH,
    TinyDetector,
    TinyPose,
)

_OPSET = 17
_HALF_FROM = 64
"""Initialisers of at least this many elements are stored as float16."""


def write_detector(network: TinyDetector, path: Path) -> None:
    """``images`` (1, 3, s, s) RGB 0..255 to ``output`` (1, n, 85)."""
    image = torch.zeros(1, 3, DETECTOR_SIZE, DETECTOR_SIZE)
    _write(network, image, path, inputs="images", outputs=["output"], dynamic=False)


def write_pose(network: TinyPose, path: Path) -> None:
    """``input`` (n, 3, 192, 144) normalised to ``simcc_x`` and ``simcc_y``; n is free."""
    crop = torch.zeros(1, 3, POSE_HEIGHT, POSE_WIDTH)
    _write(network, crop, path, inputs="input", outputs=["simcc_x", "simcc_y"], dynamic=True)


def _write(
    network: nn.Module,
    example: torch.Tensor,
    path: Path,
    *,
    inputs: str,
    outputs: list[str],
    dynamic: bool,
) -> None:
    names = [inputs, *outputs]
    with warnings.catch_warnings():
        # The newer exporter needs packages that nothing else here needs.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (example,),
            path,
            dynamo=False,
            opset_version=_OPSET,
            input_names=[inputs],
            output_names=outputs,
            dynamic_axes={name: {0: "n"} for name in names} if dynamic else None,
        )
    model = onnx.load(path)
    with torch.inference_mode():
        results = network(example)
    results = results if isinstance(results, tuple) else (results,)
    for output, result in zip(model.graph.output, results, strict=True):
        _state_shape(output, tuple(result.shape), dynamic=dynamic)
    _store_half(model)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _state_shape(output: Any, shape: tuple[int, ...], *, dynamic: bool) -> None:
    """Write the known sizes where the exporter left them open."""
    for axis, size in enumerate(shape):
        if axis or not dynamic:
            output.type.tensor_type.shape.dim[axis].dim_value = size


def _store_half(model: Any) -> None:
    """Store large initialisers as float16 and cast them back when the file is loaded."""
    graph = model.graph
    casts = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _HALF_FROM:
            continue
        stored = f"{tensor.name}.half"
        casts.append(
            onnx.helper.make_node("Cast", [stored], [tensor.name], to=onnx.TensorProto.FLOAT)
        )
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
