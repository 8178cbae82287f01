"""Files as users bring them, with small seeded networks inside."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from transformers import VideoMAEConfig, VideoMAEModel

from dispose_stages.models.inception import Inception
from dispose_stages.models.perceptual import Lpips


def randomise(network, seed=0):
    """Values that keep activations of order one."""
    generator = torch.Generator().manual_seed(seed)
    for value in network.state_dict().values():
        if value.ndim > 1:
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(noise * (2 / value[0].numel()) ** 0.5)
    return network.eval()


class SmallI3d(nn.Module):
    """The published file's signature, a few channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 8, 3, stride=4)

    def forward(
        self,
        x: torch.Tensor,
        rescale: bool = True,
        resize: bool = True,
        return_features: bool = False,
    ) -> torch.Tensor:
        if rescale or resize or not return_features:
            return x.new_zeros(1)
        return self.conv(x).mean(dim=[2, 3, 4])


def write_i3d(path):
    """TorchScript; returns the network."""
    import warnings

    torch.manual_seed(0)
    network = SmallI3d()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(network).save(str(path))
    return network


def write_videomae(folder):
    """A folder as transformers saves it, for windows of 16 frames of 224 pixels."""
    config = VideoMAEConfig(
        image_size=224,
        patch_size=112,
        num_frames=16,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    torch.manual_seed(0)
    VideoMAEModel(config).save_pretrained(folder)


def write_lpips(path, backbone="vgg"):
    """Names as torchvision has them; returns the network."""
    network = randomise(Lpips(backbone))
    state = {f"features.{k}": v for k, v in network.features.state_dict().items()}
    torch.save(state | {"classifier.0.weight": torch.zeros(2, 2)}, path)
    return network


def write_inception(path):
    """As pytorch-fid publishes it."""
    state = randomise(Inception()).state_dict()
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(old | {"fc.weight": torch.zeros(1008, 2048)}, path)


def write_face(path, side=16):
    """An ONNX network from a face to five numbers."""
    kernel = np.random.default_rng(0).standard_normal((5, 3, side, side)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["face", "kernel"], ["map"]),
            helper.make_node("Flatten", ["map"], ["embedding"]),
        ],
        "face",
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    onnx.save(model, path)
