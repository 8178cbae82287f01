"""Tiny networks with random weights, in double precision, and diffusers' own as the plain form."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.attention import TemporalBasicTransformerBlock
from torch import Tensor, nn

from dispose_stages.models.control_net import ControlNet, build_control_net
from dispose_stages.models.unet import SpatioTemporalUNet, build_unet

CONFIG: dict[str, Any] = {
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * 3 + ["DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal"] + ["CrossAttnUpBlockSpatioTemporal"] * 3,
    "block_out_channels": [32, 64, 64, 64],
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 96,
    "layers_per_block": 2,
    "cross_attention_dim": 32,
    "transformer_layers_per_block": 1,
    "num_attention_heads": [2, 4, 4, 4],
}
TIME_IDS = torch.tensor([[6.0, 127.0, 0.0]])
TIMESTEP = torch.tensor(1.3)


def randomized(network: nn.Module, seed: int = 0) -> nn.Module:
    """Weights large enough that every part of the network shows in the result."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in network.parameters():
            noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            fan_in = max(value[0].numel(), 1) if value.ndim > 1 else 25
            value.copy_(noise / fan_in**0.5 + (1.0 if value.ndim == 1 else 0.0))
    return network.eval()


def random(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def tiny_unet(**changes: Any) -> SpatioTemporalUNet:
    network = build_unet(CONFIG | changes).double()
    randomized(network)
    return network


def tiny_control_net(point_channels: int = 24) -> ControlNet:
    network = build_control_net(CONFIG, point_channels=point_channels).double()
    randomized(network, seed=3)
    return network


def plain_unet(network: SpatioTemporalUNet, **changes: Any) -> UNetSpatioTemporalConditionModel:
    """Diffusers' network, which computes every cross-attention, with the same weights."""
    plain = UNetSpatioTemporalConditionModel(**(CONFIG | changes)).double().eval()
    plain.load_state_dict(network.state_dict(), strict=True)
    return plain


def order_as_official(plain: nn.Module, entries: int) -> None:
    """Give row ``r`` of every temporal block the context entry ``r mod entries`` (Q0)."""

    def reorder(_: nn.Module, inputs: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        rows = named["encoder_hidden_states"]
        first = rows[:: len(rows) // entries]
        index = torch.arange(len(rows)) % entries
        return inputs, named | {"encoder_hidden_states": first[index]}

    for module in plain.modules():
        if isinstance(module, TemporalBasicTransformerBlock):
            module.register_forward_pre_hook(reorder, with_kwargs=True)
