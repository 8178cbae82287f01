"""Networks of metrics, from files that users bring: LPIPS, FID, FVD, CD-FVD.

None of these files is bundled (docs/benchmark.md says where each comes from).
"""

from __future__ import annotations

import re
import warnings
import zipfile
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dispose_stages.errors import WeightsError
from dispose_stages.models.inception import Inception
from dispose_stages.models.perceptual import Lpips
from dispose_stages.weights.files import WeightFile, open_weights, read_json
from dispose_stages.weights.fitting import fill, unfilled

VideoNetwork = Callable[[Float[Tensor, "b 3 t h w"]], Float[Tensor, "b d"]]
"""RGB clips in [-1, 1] to features."""
_BEYOND_TENSORS = re.compile(r"\btorch\s*\.\s*(?:save|from_file)\b|\bops\s*\.\s*(?!prim\b)\w+")
"""What TorchScript can do to files, and operators that are not PyTorch's own."""
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def heads_file(backbone: str) -> Path:
    """The linear heads that torchmetrics ships.

    Raises:
        WeightsError: It is not installed.
    """
    found = find_spec("torchmetrics")
    if found is None or not found.submodule_search_locations:
        raise WeightsError("LPIPS needs its linear heads: install the extra `score`")
    root = Path(found.submodule_search_locations[0])
    return root / "functional" / "image" / "lpips_models" / f"{backbone}.pth"


def load_lpips(path: Path, backbone: str, *, device: torch.device | str) -> Lpips:
    """The distance on a backbone's published file.

    Args:
        path: ``vgg16-….pth`` or ``alexnet-….pth``.
        backbone: ``vgg`` or ``alex``.

    Raises:
        WeightsError: A file is missing, unsafe or does not fit, or the extra is not installed.
    """
    with unfilled():
        network = Lpips(backbone)
    heads, file = open_weights(heads_file(backbone)), open_weights(path)
    fill(network.heads, heads, dtype=torch.float32, device=device)
    fill(
        network.features,
        file,
        dtype=torch.float32,
        device=device,
        rename=lambda key: key.removeprefix("features."),
        ignored=_below(file, "classifier."),
    )
    return network.eval()


def _below(file: WeightFile, *prefixes: str) -> list[str]:
    return [key for key in file.shapes if key.startswith(prefixes)]


def load_inception(path: Path, *, device: torch.device | str) -> Inception:
    """The network of FID.

    Args:
        path: ``pt_inception-2015-12-05-6726825d.pth``.

    Raises:
        WeightsError: The file is missing, unsafe or does not fit.
    """
    with unfilled():
        network = Inception()
    file = open_weights(path)
    ignored = _below(file, "fc.", "AuxLogits.")
    fill(network, file, dtype=torch.float32, device=device, ignored=ignored)
    return network


def load_i3d(path: Path, *, device: torch.device | str) -> VideoNetwork:
    """I3D as TorchScript (``i3d_torchscript.pt``, as StyleGAN-V published it).

    TorchScript is a program, which runs when it is loaded already. It cannot run commands, but it
    can read and write files, so a program that asks for that, or for operators of other libraries,
    is refused before.

    Raises:
        WeightsError: The file is missing, is no TorchScript, or does more than compute.
    """
    program = _program(path)
    if not program:
        raise WeightsError(f"{path}: FVD needs I3D as a TorchScript file (i3d_torchscript.pt)")
    if beyond := _BEYOND_TENSORS.search(program):
        raise WeightsError(f"{path}: its program calls {beyond[0]!r}; nothing of it was run")
    jit: Any = torch.jit  # untyped
    with warnings.catch_warnings():
        # The format is frozen; these files stay what they are.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            module: Any = jit.load(str(path), map_location=device)
        except (RuntimeError, ValueError) as error:
            first_line = str(error).strip().split("\n", maxsplit=1)[0]
            raise WeightsError(f"{path}: cannot be read as TorchScript: {first_line}") from error
    module.eval()

    def network(clips: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b d"]:
        features: Tensor = module(clips, rescale=False, resize=False, return_features=True)
        return features

    return network


def _program(path: Path) -> str:
    """Code of an archive; empty where it holds none: a plain checkpoint would be unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            codes = [name for name in archive.namelist() if "/code/" in name]
            return "\n".join(archive.read(c).decode() for c in codes if c.endswith(".py"))
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError):
        return ""


def load_videomae(folder: Path, *, device: torch.device | str) -> VideoNetwork:
    """VideoMAE from a folder as transformers saves it; features are the mean of its tokens.

    Raises:
        WeightsError: The folder lacks ``config.json`` or ``model.safetensors``, or holds another
            network, or the extra is not installed.
    """
    if find_spec("transformers") is None:
        raise WeightsError("CD-FVD needs transformers: install the extra `score`")
    from transformers import VideoMAEModel

    config = read_json(folder / "config.json")
    if config.get("model_type") != "videomae":
        raise WeightsError(f"{folder}: CD-FVD needs VideoMAE, not {config.get('model_type')!r}")
    if not (folder / "model.safetensors").is_file():
        raise WeightsError(f"{folder}: model.safetensors is missing")
    try:
        model: Any = VideoMAEModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{folder}: cannot be read as VideoMAE: {error}") from error
    network, loaded = model
    if loaded["missing_keys"] or loaded["mismatched_keys"]:
        missing = sorted([*loaded["missing_keys"], *loaded["mismatched_keys"]])
        raise WeightsError(f"{folder}: {len(missing)} tensors do not fit, such as {missing[0]}")
    network.to(device).eval()

    def features(clips: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b d"]:
        shape = (1, 1, 3, 1, 1)
        mean = clips.new_tensor(_IMAGENET_MEAN).reshape(shape)
        deviation = clips.new_tensor(_IMAGENET_STD).reshape(shape)
        pixels = (clips.movedim(1, 2) * 0.5 + 0.5 - mean) / deviation
        tokens: Tensor = network(pixel_values=pixels).last_hidden_state
        return tokens.mean(dim=1)

    return features
