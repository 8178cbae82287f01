"""Motion: keypoint tracks, the Gaussian, the sparse input and the CMP network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from dispose_stages.geometry.dense_field import (
    dense_field,
    enlarge_flow,
    from_fixed_point,
    resize_flow,
    to_fixed_point,
)
from dispose_stages.geometry.tracks import (
    Impulses,
    frame_to_frame,
    pixel_track,
    reference_to_frame,
)
from dispose_stages.geometry.trajectory import gaussian_weights, trajectory_field
from dispose_stages.models.cmp import CmpNetwork, CmpWidths, bin_centres, expected_flow
from dispose_stages.motion.propagation import (
    image_input,
    propagate_flow,
    sparse_impulses,
    sparse_input,
)
from tests.parity.case import (
    Case,
    Check,
    Family,
    SkipCase,
    formula_state,
    max_abs,
    relative_to_peak,
    stride_of,
)


def formula_cmp(*, prefix: str, salt: str, widths: CmpWidths | None = None) -> CmpNetwork:
    """CMP network with formula weights; the formula's keys carry ``module.``."""
    with torch.device("meta"):
        network = CmpNetwork(widths)
    shapes = {f"module.{key}": tuple(value.shape) for key, value in network.state_dict().items()}
    state = formula_state(shapes, prefix=prefix, salt=salt)
    tensors = {k.removeprefix("module."): torch.from_numpy(v) for k, v in state.items()}
    network.load_state_dict(tensors, strict=True, assign=True)
    return network


def _dense(index: np.ndarray, value: np.ndarray, frames: int, shape: tuple[int, int]) -> np.ndarray:
    field = np.zeros((frames, 3, *shape))
    frame, row, column = index.T
    field[frame, :2, row, column] = value
    field[frame, 2, row, column] = 1
    return field


def _written(impulses: Impulses, shape: tuple[int, int]) -> np.ndarray:
    frame, keypoint = np.nonzero(impulses.written)
    index = np.stack([frame, impulses.rows[frame, keypoint], impulses.columns[frame, keypoint]], 1)
    return _dense(index, impulses.displacement[frame, keypoint], len(impulses), shape)


def _planes(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).float() / 255 * 2 - 1


def _gauss(case: Case) -> Iterator[Check]:
    weights = gaussian_weights(int(case.meta["kernel_size"]), float(case.meta["sigma"]))
    kept = weights[:: stride_of(len(case["kernel"]), len(weights))]
    yield Check("kernel", max_abs(np.outer(kept, kept), case["kernel"]), 1e-15)


def _flows(case: Case) -> Iterator[Check]:
    height, width = int(case.meta["H"]), int(case.meta["W"])
    frames = int(case.meta["frames"]) - 1
    points, visible = case.body()
    track = pixel_track(points, visible, height, width)
    yield Check("track", max_abs(track.transpose(1, 0, 2), case["track"]), 1e-9)

    raw = _written(frame_to_frame(track, visible, compat="official"), (height, width))
    expected = _dense(case["traj_raw_idx"], case["traj_raw_val"], frames, (height, width))
    yield Check("traj_raw", max_abs(raw[:, :2], expected[:, :2]), 1e-9)
    field = trajectory_field(
        points,
        visible,
        height,
        width,
        compat="official",
        device="cpu",
        dtype=torch.float64,
    )
    stride = int(case.meta.get("traj_stride", 1))
    kept = field[..., ::stride, ::stride].permute(0, 2, 3, 1)
    yield Check("traj_filtered", max_abs(kept, case["traj_filtered"]), 1e-7)

    native = _written(reference_to_frame(track, visible, compat="official"), (height, width))
    expected = _dense(case["sparse_native_idx"], case["sparse_native_val"], frames, (height, width))
    yield Check("sparse_native", max_abs(native, expected), 1e-9)
    impulses = sparse_impulses(points, visible, height, width, compat="official")
    expected = _dense(case["sparse_384_idx"], case["sparse_384_val"], frames, (384, 384))
    yield Check("sparse_384", max_abs(_written(impulses, (384, 384)), expected), 1e-9)
    given = sparse_input(impulses)
    yield Check("sparse_384 mask", max_abs(given[:, 2:], expected[:, [2, 2]]), 0.0)

    image = (image_input(case["first_frame_u8"]) + 1) / 2
    step = 384 // case["first_frame_384_sub"].shape[-1]
    yield Check(
        "first_frame_384", max_abs(image[..., ::step, ::step], case["first_frame_384_sub"]), 1e-6
    )


def _fuser(case: Case) -> Iterator[Check]:
    bins, limit = int(case.meta["nbins"]), float(case.meta["fmax"])
    yield Check("bin_centres", max_abs(bin_centres(bins, limit), case["bin_centres"]), 1e-5)
    flow = expected_flow(torch.from_numpy(case["logits"]), limit)
    yield Check("flow", max_abs(flow, case["flow"]), 1e-4)


def _network(case: Case) -> Iterator[Check]:
    network = formula_cmp(prefix=case.meta["prefix"], salt=case.salt)
    mask = torch.from_numpy(case["mask"]).float()
    sparse = torch.cat([torch.from_numpy(case["sparse"]), mask], dim=1)
    with torch.inference_mode():
        image = _planes(case["image_u8"])
        features, _, _ = network.image_encoder(image)
        encoded = network.flow_encoder(sparse)
        shared = network.encode_image(image)
        logits = network.flow_decoder(shared, encoded)
        half = network.propagate(shared, sparse)
    yield Check("img_enc", relative_to_peak(features, case["img_enc"]), 2e-5)
    yield Check("sparse_enc", relative_to_peak(encoded, case["sparse_enc"]), 2e-5)
    step = round(logits.shape[-1] / case["logits_sub"].shape[-1])
    sub = logits[..., ::step, ::step]
    yield Check("logits", relative_to_peak(sub, case["logits_sub"]), 2e-5)
    yield Check("flow_half", max_abs(half, case["flow_half"]), 5e-4)
    yield Check("flow", max_abs(enlarge_flow(half), case["flow"]), 5e-4)


def _flow(case: Case) -> Iterator[Check]:
    network = formula_cmp(prefix=case.meta["prefix"], salt=case.salt)
    rows, columns = (
        np.broadcast_to(axis, case["value"].shape[:2]) for axis in case["yx"].T.astype(np.int64)
    )
    # Listed in COO form, so every entry counts; later ones win where a pixel is listed twice.
    later = np.triu((rows[0] == rows[0][:, None]) & (columns[0] == columns[0][:, None]), k=1)
    written = np.broadcast_to(~later.any(axis=1), rows.shape)
    impulses = Impulses(rows, columns, case["value"].astype(np.float64), written)
    size = case["image_u8"].shape[-1]
    image = case["image_u8"][0].transpose(1, 2, 0)
    parts = propagate_flow(network, image, impulses, batch=2, device="cpu", size=size)
    half = np.concatenate(list(parts))
    whole = enlarge_flow(torch.from_numpy(half))
    yield Check("flow", max_abs(whole[None], case["flow"]), 2e-3)
    stored = enlarge_flow(torch.from_numpy(from_fixed_point(to_fixed_point(half))))
    yield Check("flow as stored", max_abs(stored[None], case["flow"]), 2e-3)
    field = dense_field(to_fixed_point(half), size, size, device="cpu", dtype=torch.float32)
    yield Check("dense_field", max_abs(field[None], case["flow"]), 2e-3)


def _resize_size(case: Case) -> tuple[int, int]:
    if "H" in case.meta and "W" in case.meta:
        return int(case.meta["H"]), int(case.meta["W"])
    # These files state their size nowhere else, and every n-th pixel leaves it open.
    found = re.search(r"(\d+)x(\d+)$", case.name)
    if found is None:
        raise SkipCase("the size is neither in the meta data nor in the name")
    return int(found[1]), int(found[2])


def _resize(case: Case) -> Iterator[Check]:
    height, width = _resize_size(case)
    draws = np.random.Generator(np.random.PCG64(int(case.meta["seed"])))
    draws.normal(0, 4, (2, 198, 5, 7))
    flow = (draws.standard_normal((1, 2, 2, 384, 384)) * 10).astype(np.float32)
    out = resize_flow(torch.from_numpy(flow[0]), height, width)[None].numpy()
    step = -(-height // case["out_sub"].shape[-2])
    sub = out[..., ::step, ::step]
    ulp = float(np.spacing(np.abs(case["out_sub"]).max()))
    yield Check("out", max_abs(sub, case["out_sub"]), ulp)
    total = float(case["out_sum"])
    yield Check("sum", abs(float(out.astype(np.float64).sum()) - total), 1e-3 + 1e-6 * abs(total))


def _manifest(case: Case) -> Iterable[Check]:
    recorded = {
        key.removeprefix("module."): tuple(shape)
        for key, (shape, _) in case.json["tensors"].items()
    }
    with torch.device("meta"):
        network = CmpNetwork(CmpWidths.from_shapes(recorded))
    ours = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    yield Check("keys", len(ours.keys() ^ recorded.keys()), 0)
    yield Check("shapes", sum(ours.get(k) != shape for k, shape in recorded.items()), 0)


FAMILIES = [
    Family("cmp/network*", _network),
    Family("cmp/flow_resize*", _resize),
    Family("cmp/flow*", _flow),
    Family("cmp/fuser*", _fuser),
    Family("pure/flows*", _flows),
    Family("pure/gauss*", _gauss),
    Family("manifests/cmp*", _manifest),
]
