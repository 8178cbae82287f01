"""The diffusion networks against recordings of the original, all once-only computations on."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dispose_stages.models.context import ArrangedContext, GuidanceBatch, TemporalOrder
from dispose_stages.models.control_net import (
    ControlNet,
    MotionEmbedding,
    build_control_net,
)
from dispose_stages.models.encoder import SpatioTemporalEncoder
from dispose_stages.models.point_adapter import PointAdapter
from dispose_stages.models.pose_net import PoseNet
from dispose_stages.models.unet import SpatioTemporalUNet, build_unet
from tests.parity.case import Case, Check, Family, formula_tensor, relative_to_peak

MODULE_LIMIT = 3e-5  # of the largest magnitude; golden README, "Tolerances"
FULL_LIMIT = 2e-4
arrangements: list[Callable[[nn.Module], None]] = []
"""What is done to every network once it has its weights."""


def fill(module: nn.Module, prefix: str, salt: str) -> nn.Module:
    """Formula weights, tensor by tensor, into a module on the meta device or elsewhere."""
    state = {}
    for key, value in module.state_dict().items():
        weight = torch.from_numpy(formula_tensor(prefix + key, value.shape, salt=salt))
        state[key] = weight.to(value.dtype)
    module.load_state_dict(state, strict=True, assign=True)
    for arrange in arrangements:
        arrange(module)
    return module.eval()


def tensor(case: Case, key: str) -> Tensor:
    return torch.from_numpy(case[key])


def companion(case: Case, name: str) -> Case:
    """A recording in the same folder that holds inputs for this one."""
    return Case(case.root, case.path.with_name(f"{name}.npz"))


def arranged(
    network: SpatioTemporalEncoder, case: Case, order: TemporalOrder = "official"
) -> ArrangedContext:
    context = tensor(case, "encoder_hidden_states").squeeze(1)
    batch = GuidanceBatch(groups=(0,) * len(context), halves=tuple(range(len(context))))
    return network.cross_attention(context[None], batch, order)


def body(case: Case) -> tuple[Tensor, Tensor]:
    """Keypoints and visibility of every frame."""
    points, visible = case.body()
    return torch.from_numpy(points), torch.from_numpy(visible)


def pose_net(case: Case) -> Iterator[Check]:
    """PoseNet."""
    channels = case.meta.get("noise_latent_channels", case["y"].shape[1])
    net = fill(PoseNet(channels), case.meta["prefix"], case.salt)
    # Clips, where recorded as such, go through it frame by frame.
    frames, expected = (value.reshape(-1, *value.shape[-3:]) for value in (case["x"], case["y"]))
    yield Check("y", relative_to_peak(net(torch.from_numpy(frames)), expected), 2e-5)


def motion_embedding(case: Case) -> Iterator[Check]:
    """Both motion fields, a clip at a time."""
    net = MotionEmbedding(case.meta["out_channels"])
    fill(net, case.meta["prefix"], case.salt)
    clips = []
    for dense, trajectory in zip(tensor(case, "flow"), tensor(case, "traj"), strict=True):
        still = torch.zeros_like(dense[:1])
        clips += [net(still, still), net(dense, trajectory)]
    yield Check("y", relative_to_peak(torch.cat(clips), case["y"]), 2e-5)


def point_adapter(case: Case) -> Iterator[Check]:
    """All levels of the point adapter."""
    net = PointAdapter(case.meta["embedding_channels"], case.meta["channels"])
    fill(net, case.meta["prefix"], case.salt)
    width, height = case.meta["size_w_h"]
    points, visible = body(case)
    levels = net(tensor(case, "embedding")[0], points, visible, height=height, width=width)
    for index, level in enumerate(levels):
        expected = case[f"level{index}"][0]
        yield Check(f"level{index}", relative_to_peak(level, expected), 2e-5)


def run_control_net(
    net: ControlNet, case: Case, meta: Mapping[str, Any], order: TemporalOrder = "official"
) -> tuple[Tensor, ...]:
    """One call with everything that is constant per clip or step computed beforehand."""
    frames = case["sample"].shape[1]
    flow, trajectory = tensor(case, "flow")[0], tensor(case, "traj")[0]
    still = net.embed_stillness(*flow.shape[-2:])
    motion = torch.cat([still, net.embed_motion(flow, trajectory)])
    levels = None
    if meta.get("point_list", "given") is not None:
        points, visible = body(case)
        height, width = case["flow"].shape[-2:]
        levels = net.embed_points(
            tensor(case, "ref_point_emb")[0], points, visible, height=height, width=width
        )
        levels = tuple(level[None, :frames] for level in levels)
    return net(
        tensor(case, "sample"),
        net.time_embed(tensor(case, "timestep"), tensor(case, "added_time_ids")[:1]),
        arranged(net, case, order),
        motion=motion[None, :frames],
        point_levels=levels,
        scale=meta.get("conditioning_scale", 1.0),
    )


def compare_residuals(
    actual: Sequence[Tensor], case: Case, limit: float, prefix: str = ""
) -> Iterator[Check]:
    for name, residual in zip(residual_names(len(actual)), actual, strict=True):
        key = prefix + name
        yield Check(key, relative_to_peak(residual, case[key]), limit)


def residual_names(count: int) -> list[str]:
    return [*(f"down{index:02d}" for index in range(count - 1)), "mid"]


def tiny_control_net(case: Case) -> ControlNet:
    meta = case.meta
    with torch.device("meta"):
        net = build_control_net(meta["config"], adapter_channels=meta["point_adapter_channels"])
    fill(net, meta["prefix"], case.salt)
    return net


def control_net(case: Case) -> Iterator[Check]:
    """Residuals of the ControlNet, with or without points."""
    inputs = case if "sample" in case else companion(case, "controlnet")
    actual = run_control_net(tiny_control_net(case), inputs, case.meta)
    yield from compare_residuals(actual, case, MODULE_LIMIT)


def tiny_unet(case: Case) -> SpatioTemporalUNet:
    with torch.device("meta"):
        net = build_unet(case.meta["config"])
    fill(net, case.meta["prefix"], case.salt)
    return net


def recorded_control(case: Case, rows: slice = slice(None)) -> list[Tensor]:
    keys = sorted(key for key in case.keys() if key.startswith("res"))  # noqa: SIM118
    return [tensor(case, key)[rows] for key in [*keys, "mid"]]


def unet_outputs(case: Case, order: TemporalOrder) -> dict[str, Tensor]:
    """Every recorded way of calling the UNet."""
    net = tiny_unet(case)
    sample = tensor(case, "sample")
    batch, frames = sample.shape[:2]
    time = net.time_embed(tensor(case, "timestep"), tensor(case, "added_time_ids")[:1])
    context = arranged(net, case, order)
    pose = tensor(case, "pose_latents").unflatten(0, (batch, frames))
    control = recorded_control(case)
    alone = GuidanceBatch.tiles(1, (0,))
    one = net.cross_attention(tensor(case, "encoder_hidden_states")[1:2], alone, order)
    still = torch.ones(batch, frames, dtype=torch.bool)
    return {
        "y": net(sample, time, context, pose_latents=pose, control=control),
        "y_plain_no_pose_no_res": net(sample, time, context),
        "y_image_only": net(sample, time, context, pose_latents=pose, image_only=still),
        "y_batch1": net(
            sample[1:2],
            time,
            one,
            pose_latents=pose[1:2],
            control=recorded_control(case, slice(frames, 2 * frames)),
        ),
    }


def unet(case: Case) -> Iterator[Check]:
    """The UNet at the official order of temporal contexts."""
    for key, actual in unet_outputs(case, "official").items():
        yield Check(key, relative_to_peak(actual, case[key]), MODULE_LIMIT)


def corrected_order(case: Case) -> Iterator[Check]:
    """The other order of temporal contexts (Q0) on the inputs of two other recordings."""
    outputs = unet_outputs(companion(case, "unet"), "corrected")
    names = {"unet_y": "y", "unet_y_plain": "y_plain_no_pose_no_res", "unet_y_batch1": "y_batch1"}
    for key, name in names.items():
        yield Check(key, relative_to_peak(outputs[name], case[key]), MODULE_LIMIT)
    inputs = companion(case, "controlnet")
    residuals = run_control_net(tiny_control_net(inputs), inputs, inputs.meta, "corrected")
    yield from compare_residuals(residuals, case, MODULE_LIMIT, "controlnet_")


def full_size(case: Case) -> Iterator[Check]:
    """The networks at their published size, one after the other."""
    meta, prefixes = case.meta, case.meta["prefixes"]
    with torch.device("meta"):
        control = build_control_net(meta["config"])
    fill(control, prefixes["controlnet"], case.salt)
    residuals = run_control_net(control, case, meta)
    del control
    gc.collect()
    yield from compare_residuals(residuals, case, FULL_LIMIT)
    outputs = [key for key in case.keys() if key.startswith(("y", "unet_y"))]  # noqa: SIM118
    if not outputs:
        return
    with torch.device("meta"):
        net = build_unet(meta["config"])
    fill(net, prefixes["unet"], case.salt)
    batch, frames = case["sample"].shape[:2]
    recorded = [tensor(case, name) for name in residual_names(len(residuals))]
    actual = net(
        tensor(case, "sample"),
        net.time_embed(tensor(case, "timestep"), tensor(case, "added_time_ids")[:1]),
        arranged(net, case),
        pose_latents=tensor(case, "pose_latents").unflatten(0, (batch, frames)),
        control=recorded,
    )
    yield Check(outputs[0], relative_to_peak(actual, case[outputs[0]]), FULL_LIMIT)


def _without_gradients(replay: Any) -> Any:
    def replayed(case: Case) -> Iterator[Check]:
        with torch.no_grad():
            yield from replay(case)

    return replayed


FAMILIES = [
    Family("modules/pose_net*", _without_gradients(pose_net)),
    Family("modules/cond_embedding*", _without_gradients(motion_embedding)),
    Family("modules/point_adapter*", _without_gradients(point_adapter)),
    Family("modules/controlnet*", _without_gradients(control_net)),
    Family("modules/unet*", _without_gradients(unet)),
    Family("modules/time_context*", _without_gradients(corrected_order)),
    Family("full/*", _without_gradients(full_size), slow=True),
]
