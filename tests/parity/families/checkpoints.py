"""Published checkpoints: keys and shapes of our full-size networks against the recorded ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from dispose_stages.models.autoencoder import build_autoencoder
from dispose_stages.models.clip import build_image_encoder
from dispose_stages.models.control_net import build_control_net
from dispose_stages.models.pose_net import build_pose_net
from dispose_stages.models.unet import build_unet
from dispose_stages.weights.files import Shape
from dispose_stages.weights.fitting import parameter_shapes
from dispose_stages.weights.layout import weight_names
from dispose_stages.weights.loading.diffusion import copied_from_unet
from tests.parity.case import Case, Check, Family, SkipCase


def _recorded(manifest: Mapping[str, Any]) -> dict[str, Shape]:
    return {key: tuple(shape) for key, (shape, _) in manifest["tensors"].items()}


def _same(name: str, actual: Mapping[str, Shape], expected: Mapping[str, Shape]) -> Check:
    """Number of keys that only one side has, or that differ in shape."""
    keys = actual.keys() | expected.keys()
    return Check(name, sum(actual.get(key) != expected.get(key) for key in keys), 0)


def _config(case: Case) -> dict[str, Any]:
    """Configuration of the UNet, from this recording or the ControlNet's beside it."""
    if "config" in case.json:
        return dict(case.json["config"])
    return dict(_beside(case, "DisPose_controlnet")["config"])


def _beside(case: Case, name: str) -> Any:
    path = case.path.with_name(f"{name}.json")
    if not path.exists():
        raise SkipCase(f"needs {name}.json beside it")
    return Case(case.root, path).json


def svd_part(part: str, config: Mapping[str, Any]) -> nn.Module:
    """VAE or image encoder on the meta device."""
    with torch.device("meta"):
        if part == "vae":
            return build_autoencoder(config)
        return build_image_encoder(config)


def control_net(case: Case) -> Iterator[Check]:
    """Every key of ``DisPose.pth``."""
    with torch.device("meta"):
        net = build_control_net(_config(case))
    yield _same("keys", parameter_shapes(net), _recorded(case.json))


def mimic_motion(case: Case) -> Iterator[Check]:
    """Every key of ``MimicMotion_1-1.pth``, and of its VAE and image encoder if recorded."""
    expected = _recorded(case.json)
    config = _config(case)
    with torch.device("meta"):
        actual = parameter_shapes(build_unet(config), "unet.")
        actual |= parameter_shapes(build_pose_net(config["block_out_channels"][0]), "pose_net.")
    for part in ("vae", "image_encoder"):
        if any(key.startswith(f"{part}.") for key in expected):
            network = svd_part(part, _beside(case, f"svd_{part}")["config"])
            actual |= parameter_shapes(network, f"{part}.")
    yield _same("keys", actual, expected)


def svd(case: Case) -> Iterator[Check]:
    """Every key of the VAE's and the image encoder's file."""
    part = "vae" if "vae" in case.path.stem else "image_encoder"
    network = svd_part(part, case.json["config"])
    yield _same("keys", parameter_shapes(network), _recorded(case.json))


def initialised_from_unet(case: Case) -> Iterator[Check]:
    """Which tensors a fresh ControlNet copies from the UNet."""
    config = _config(case)
    with torch.device("meta"):
        net, unet = build_control_net(config), build_unet(config)
    copied = copied_from_unet(net, unet)
    # A few keys are in none of the recorded lists; those are not judged.
    yield Check("copied", len(set(case.json["copied_from_unet"]) - copied), 0)
    others = {*case.json["zero_initialised"], *case.json["not_copied"]}
    yield Check("not copied", len(others & copied), 0)
    yield Check("of this network", len(others - set(net.state_dict())), 0)


def summary(case: Case) -> Iterator[Check]:
    """Numbers of keys and parameters against the sizes of the published files."""
    config = _config(case)
    with torch.device("meta"):
        networks = {
            "unet": build_unet(config),
            "pose_net": build_pose_net(config["block_out_channels"][0]),
            "dispose": build_control_net(config),
        }
    for part in ("vae", "image_encoder"):
        networks[part] = svd_part(part, _beside(case, f"svd_{part}")["config"])
    found = {
        name: (len(shapes), sum(math.prod(shape) for shape in shapes.values()))
        for name, shapes in ((n, parameter_shapes(net)) for n, net in networks.items())
    }
    entries = case.json
    published = {
        "dispose": _counts(entries["DisPose.pth"]),
        "unet": _counts(entries["MimicMotion_1-1.pth"], "_unet"),
        "pose_net": _counts(entries["MimicMotion_1-1.pth"], "_pose_net"),
        "vae": _counts(entries["svd vae fp16"]),
        "image_encoder": _counts(entries["svd image_encoder fp16"]),
    }
    for name, counts in published.items():
        differences = [abs(a - b) for a, b in zip(found[name], counts, strict=True)]
        yield Check(name, sum(differences), 0)


def _counts(entry: Mapping[str, Any], ending: str = "") -> tuple[int, int]:
    return entry[f"n_keys{ending}"], entry[f"n_params{ending}"]


def folder_layout(case: Case) -> Iterator[Check]:
    """The files that are opened for the SVD parts are among those the original opens."""
    listed = {entry["path"] for entry in case.json["svd"]["read"]}
    for part in ("vae", "image_encoder"):
        yield Check(part, float(f"{part}/{weight_names(part)[0]}" not in listed), 0)
    for path in (
        "unet/config.json",
        "vae/config.json",
        "image_encoder/config.json",
        "scheduler/scheduler_config.json",
        "feature_extractor/preprocessor_config.json",
    ):
        yield Check(path, float(path not in listed), 0)


FAMILIES = [
    Family("manifests/DisPose*", control_net),
    Family("manifests/MimicMotion*", mimic_motion),
    Family("manifests/svd_*", svd),
    Family("manifests/controlnet_from_unet_init*", initialised_from_unet),
    Family("manifests/summary*", summary),
    Family("manifests/folder_layout*", folder_layout),
]
