"""Conditional motion propagation (CMP): a few displacements and an image become a dense flow.

Source: algorithm §5, Zhan et al. 2019: a dilated ResNet-50 on the image, a shallow network on the
sparse displacements, and a decoder with skip connections that ends in a discretised flow.

Attribute names follow the state dict of ``ckpt_iter_42000.pth.tar`` without its ``module.``
prefix: ``flow_encoder`` is the sparse encoder, ``features.N``, ``decoder8``, ``fusion4`` and so on
are its names. Widths come from the checkpoint, so that a small bundle is the same network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dispose_stages.geometry.dense_field import FLOW_LIMIT

STAGE_BLOCKS = (3, 4, 6, 3)
_STAGE_STRIDES = (1, 2, 1, 1)
_STAGE_DILATIONS = (1, 1, 2, 4)
_EXPANSION = 4


@dataclass(frozen=True, slots=True)
class CmpWidths:
    """Channels of every part; the defaults are those of the published checkpoint.

    Attributes:
        stem: First convolution of the image encoder.
        stages: Inner width of each stage's bottlenecks; their output is four times as wide.
        image: Image features.
        sparse: Sparse encoder, all of it.
        branch: Each of the decoder's four branches.
        fusion8: After the branches are joined, at 1/8.
        skip4: Skip connection at 1/4.
        fusion4: After it is joined.
        skip2: Skip connection at 1/2.
        fusion2: After it is joined.
        bins: Flow bins per component.
    """

    stem: int = 64
    stages: tuple[int, int, int, int] = (64, 128, 256, 512)
    image: int = 256
    sparse: int = 16
    branch: int = 128
    fusion8: int = 256
    skip4: int = 128
    fusion4: int = 128
    skip2: int = 32
    fusion2: int = 64
    bins: int = 99

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, Sequence[int]]) -> CmpWidths:
        """Widths of a checkpoint; where a key is missing, the published one's."""
        plain = cls()

        def outputs(key: str, default: int) -> int:
            shape = shapes.get(f"{key}.weight", ())
            return int(shape[0]) if len(shape) else default

        first, second, third, fourth = (
            outputs(f"image_encoder.layer{i}.0.conv1", w) for i, w in enumerate(plain.stages, 1)
        )
        return cls(
            stem=outputs("image_encoder.conv1", plain.stem),
            stages=(first, second, third, fourth),
            image=outputs("image_encoder.conv5", plain.image),
            sparse=outputs("flow_encoder.features.0", plain.sparse),
            branch=outputs("flow_decoder.decoder1.0", plain.branch),
            fusion8=outputs("flow_decoder.fusion8.0", plain.fusion8),
            skip4=outputs("flow_decoder.skipconv4.0", plain.skip4),
            fusion4=outputs("flow_decoder.fusion4.0", plain.fusion4),
            skip2=outputs("flow_decoder.skipconv2.0", plain.skip2),
            fusion2=outputs("flow_decoder.fusion2.0", plain.fusion2),
            bins=outputs("flow_decoder.head", 2 * plain.bins) // 2,
        )


Pyramid = tuple[
    Float[Tensor, "b c8 h8 w8"], Float[Tensor, "b c4 h4 w4"], Float[Tensor, "b c2 h2 w2"]
]
"""Of an image: at 1/8, 1/4 and 1/2 of its size."""


class Bottleneck(nn.Module):
    """Residual block 1x1, 3x3, 1x1; stride and dilation are the 3x3's."""

    def __init__(self, inputs: int, width: int, *, stride: int, dilation: int, project: bool):
        super().__init__()
        outputs = _EXPANSION * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(
            width, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if project:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c_out h_out w_out"]:
        """Residual sum, rectified."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ImageEncoder(nn.Module):
    """ResNet-50 with dilation instead of the last two strides: 1/8 resolution."""

    def __init__(self, widths: CmpWidths) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths.stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths.stem)
        channels = widths.stem
        for stage, (width, blocks) in enumerate(zip(widths.stages, STAGE_BLOCKS, strict=True)):
            layer = nn.Sequential()
            for block in range(blocks):
                layer.append(
                    Bottleneck(
                        channels,
                        width,
                        stride=_STAGE_STRIDES[stage] if block == 0 else 1,
                        dilation=_STAGE_DILATIONS[stage],
                        project=block == 0,
                    )
                )
                channels = _EXPANSION * width
            self.add_module(f"layer{stage + 1}", layer)
        self.conv5 = nn.Conv2d(channels, widths.image, 1)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Pyramid:
        """Features at 1/8, and the activations at 1/4 and 1/2 that the decoder reads."""
        half = F.relu(self.bn1(self.conv1(image)))
        quarter = self.get_submodule("layer1")(F.max_pool2d(half, 3, stride=2, padding=1))
        top = quarter
        for name in ("layer2", "layer3", "layer4"):
            top = self.get_submodule(name)(top)
        return self.conv5(top), quarter, half


class SparseEncoder(nn.Module):
    """Displacements and their mask, brought to 1/8 resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(4, width, 5, stride=2, padding=2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.AvgPool2d(2),
        )

    def forward(self, sparse: Float[Tensor, "b 4 h w"]) -> Float[Tensor, "b c h8 w8"]:
        """Encode ``(dx, dy, mask, mask)``."""
        encoded: Tensor = self.features(sparse)
        return encoded


def _conv_norm_relu(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]


def _branch(inputs: int, width: int, pool: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.MaxPool2d(pool)] if pool > 1 else []
    for channels in (inputs, width, width):
        layers += _conv_norm_relu(channels, width)
    return nn.Sequential(*layers)


def _resize(x: Float[Tensor, "b c h w"], like: Tensor) -> Float[Tensor, "b c h_out w_out"]:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


class FlowDecoder(nn.Module):
    """Four branches over several scales, then up to 1/2 with two skip connections."""

    def __init__(self, w: CmpWidths) -> None:
        super().__init__()
        inputs = w.image + w.sparse
        self.decoder1 = _branch(inputs, w.branch, 1)
        self.decoder2 = _branch(inputs, w.branch, 2)
        self.decoder4 = _branch(inputs, w.branch, 4)
        self.decoder8 = _branch(inputs, w.branch, 8)
        self.fusion8 = nn.Sequential(*_conv_norm_relu(4 * w.branch, w.fusion8))
        quarter = _EXPANSION * w.stages[0]
        self.skipconv4 = nn.Sequential(*_conv_norm_relu(quarter, w.skip4))
        self.fusion4 = nn.Sequential(*_conv_norm_relu(w.fusion8 + w.skip4, w.fusion4))
        self.skipconv2 = nn.Sequential(*_conv_norm_relu(w.stem, w.skip2))
        self.fusion2 = nn.Sequential(*_conv_norm_relu(w.fusion4 + w.skip2, w.fusion2))
        self.head = nn.Conv2d(w.fusion2, 2 * w.bins, 1)

    def skips(self, image: Pyramid) -> Pyramid:
        """The image encoder's output as `forward` takes it, computed once per image."""
        features, quarter, half = image
        return features, self.skipconv4(quarter), self.skipconv2(half)

    def forward(
        self, image: Pyramid, sparse: Float[Tensor, "b c h8 w8"]
    ) -> Float[Tensor, "b bins_2 h2 w2"]:
        """Logits of the discretised flow, bins of x before bins of y."""
        batch, (features, skip4, skip2) = len(sparse), image
        joint = torch.cat([features.expand(batch, -1, -1, -1), sparse], dim=1)
        full = self.decoder1(joint)
        coarse = [_resize(d(joint), full) for d in (self.decoder2, self.decoder4, self.decoder8)]
        x = self.fusion8(torch.cat([full, *coarse], dim=1))
        for skip, fusion in ((skip4, self.fusion4), (skip2, self.fusion2)):
            x = fusion(torch.cat([_resize(x, skip), skip.expand(batch, -1, -1, -1)], dim=1))
        logits: Tensor = self.head(x)
        return logits


class CmpNetwork(nn.Module):
    """The whole network, in evaluation mode; keys as in the checkpoint without ``module.``."""

    def __init__(self, widths: CmpWidths | None = None) -> None:
        super().__init__()
        widths = widths or CmpWidths()
        self.image_encoder = ImageEncoder(widths)
        self.flow_encoder = SparseEncoder(widths.sparse)
        self.flow_decoder = FlowDecoder(widths)
        self.eval()

    def encode_image(self, image: Float[Tensor, "b 3 h w"]) -> Pyramid:
        """What all frames of a clip share. The image is in [-1, 1]."""
        return self.flow_decoder.skips(self.image_encoder(image))

    def propagate(
        self, image: Pyramid, sparse: Float[Tensor, "b 4 h w"]
    ) -> Float[Tensor, "b 2 h2 w2"]:
        """Dense flow of a batch of frames at half resolution, pixels of the full one."""
        logits: Tensor = self.flow_decoder(image, self.flow_encoder(sparse))
        return expected_flow(logits)


def bin_centres(bins: int, limit: float = FLOW_LIMIT) -> Float[Tensor, "bins"]:
    """Middle of each of `bins` equal intervals of ``[-limit, limit]``."""
    step = 2 * limit / bins
    return torch.arange(bins, dtype=torch.float32) * step - limit + step / 2


def expected_flow(
    logits: Float[Tensor, "b bins_2 h w"], limit: float = FLOW_LIMIT
) -> Float[Tensor, "b 2 h w"]:
    """Expectation of both components over their bins; smaller than `limit`."""
    bins = logits.shape[1] // 2
    probability = logits.reshape(len(logits), 2, bins, -1).softmax(dim=2)
    # A product with the bins' axis where it is: `einsum` would move it to the end first.
    flow = torch.matmul(bin_centres(bins, limit).to(logits), probability)
    return flow.reshape(*flow.shape[:2], *logits.shape[2:])
