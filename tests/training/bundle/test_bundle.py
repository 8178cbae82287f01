"""The tiny bundle: same bytes for the same seed, the published layout, networks that load."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import onnxruntime
import pytest
import torch

from dispose_stages.training.bundle.tiny import make_tiny
from dispose_stages.training.bundle.vocabulary import END, START, build_vocabulary, byte_characters
from dispose_stages.weights import layout
from dispose_stages.weights.bundle import read_marker
from dispose_stages.weights.loading.cmp import load_cmp
from dispose_stages.weights.loading.diffusion import load_diffusion_networks
from dispose_stages.weights.loading.dift import load_dift, tokenize
from dispose_stages.weights.loading.svd import load_image_encoder, load_noise_range, load_vae
from dispose_stages.weights.verification import verify

STAGES = ("pose", "motion", "correspondence", "sample", "mux")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny(root, seed=3)
    return root


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_same_seed_gives_same_bytes(bundle: Path, tmp_path: Path) -> None:
    """Two runs write identical files, also over a bundle that is there already."""
    make_tiny(tmp_path / "again", seed=4)
    other = digests(tmp_path / "again")
    make_tiny(tmp_path / "again", seed=3)
    assert digests(tmp_path / "again") == digests(bundle)
    assert other[layout.DISPOSE] != digests(bundle)[layout.DISPOSE]


def test_layout_is_complete_and_small(bundle: Path) -> None:
    """Nothing that a stage reads is missing, and the folder says what it is."""
    verify(bundle, STAGES, "tiny")
    marker = read_marker(bundle)
    assert marker["name"] == "tiny"
    assert marker["seed"] == 3
    assert sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file()) < 30e6


def test_checkpoints_have_the_published_form(bundle: Path) -> None:
    """Precision, prefixes and containers are those of the real files."""
    mimic = torch.load(bundle / layout.MIMIC_MOTION, weights_only=True)
    assert {key.split(".")[0] for key in mimic} == {"unet", "pose_net"}
    assert {value.dtype for value in mimic.values()} == {torch.float16}
    dispose = torch.load(bundle / layout.DISPOSE, weights_only=True)
    assert {value.dtype for value in dispose.values()} == {torch.float32}
    cmp = torch.load(bundle / layout.CMP, weights_only=True)
    assert set(cmp) == {"step", "state_dict", "optimizer"}
    assert all(key.startswith("module.") for key in cmp["state_dict"])


def test_keys_are_those_of_the_published_checkpoints(bundle: Path) -> None:
    """Same names, other shapes; checked against the recorded lists where they are present."""
    folder = Path(__file__).parents[4] / "shared" / "golden" / "manifests"
    if not folder.is_dir():
        pytest.skip("no recordings here")
    files = {
        layout.MIMIC_MOTION: "MimicMotion_unet_posenet.json",
        layout.DISPOSE: "DisPose_controlnet.json",
        layout.CMP: "cmp_ckpt_iter_42000.json",
    }
    for name, manifest in files.items():
        state = torch.load(bundle / name, weights_only=True)
        state = state.get("state_dict", state)
        assert set(state) == set(json.loads((folder / manifest).read_text())["tensors"]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_vae_neither_saturates_nor_overflows(bundle: Path, dtype: torch.dtype) -> None:
    """Decoded noise is an image with contrast, in either precision."""
    vae = load_vae(bundle / layout.SVD, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    latents = (5 * torch.randn(1, 4, 4, 4, generator=generator)).to(dtype)
    with torch.inference_mode():
        image = vae.decode(latents, 1).float()
    assert image.isfinite().all()
    assert 0.1 < float(image.std()) < 0.8
    assert float((image.abs() > 1).float().mean()) < 0.2


def test_every_network_loads(bundle: Path) -> None:
    """The real loaders take the bundle as it is."""
    svd = bundle / layout.SVD
    for loaded in load_diffusion_networks(bundle, dtype=torch.float16):
        assert all(p.isfinite().all() for p in loaded.parameters())
    assert load_noise_range(svd) == (0.002, 700.0)
    load_image_encoder(svd, dtype=torch.float32)
    network = load_cmp(bundle / layout.CMP, device="cpu")
    with torch.inference_mode():
        features = network.encode_image(torch.zeros(1, 3, 384, 384))
        flow = network.propagate(features, torch.zeros(1, 4, 384, 384))
    assert flow.shape == (1, 2, 192, 192)
    assert float(flow.abs().max()) < 45


def test_feature_width_fits_the_point_adapter(bundle: Path) -> None:
    """What the SD UNet gives is what the ControlNet takes."""
    network = load_dift(bundle / layout.SD15, prompt="photo of a human", device="cpu")
    with torch.inference_mode():
        mean, _ = network.posterior(torch.zeros(1, 3, 128, 64))
        features = network.features(mean, 261)
    adapter = torch.load(bundle / layout.DISPOSE, weights_only=True)
    assert features.shape[1] == adapter["point_adapter.model_list.0.mlp.0.weight"].shape[1]
    assert features.shape[2:] == (8, 4)


def test_tokenizer_knows_the_prompt(bundle: Path) -> None:
    """Known words are one token each; anything else is spelled."""
    vocabulary, _ = build_vocabulary()
    ids = tokenize(bundle / layout.SD15, "photo of a human", 77)[0].tolist()
    words = [vocabulary[f"{word}</w>"] for word in ("photo", "of", "a", "human")]
    assert ids[:6] == [vocabulary[START], *words, vocabulary[END]]
    assert tokenize(bundle / layout.SD15, "Ünïcode 日本", 77).shape == (1, 77)
    assert len(set(byte_characters())) == 256


def test_onnx_files_have_the_published_names_and_layout(bundle: Path) -> None:
    """Names and axes of DWPose's files, at sizes of their own."""
    detector = onnxruntime.InferenceSession(bundle / layout.DETECTOR)
    ((image,), (output,)) = detector.get_inputs(), detector.get_outputs()
    assert (image.name, output.name) == ("images", "output")
    side = image.shape[2]
    cells = sum((side // stride) ** 2 for stride in (8, 16, 32))
    assert image.shape == [1, 3, side, side]
    assert output.shape == [1, cells, 85]
    head = onnxruntime.InferenceSession(bundle / layout.WHOLE_BODY)
    ((crop,), (x, y)) = head.get_inputs(), head.get_outputs()
    assert (crop.name, x.name, y.name) == ("input", "simcc_x", "simcc_y")
    height, width = crop.shape[2:]
    assert height * 3 == width * 4
    assert isinstance(crop.shape[0], str)
    assert x.shape[1:] == [133, 2 * width]
    assert y.shape[1:] == [133, 2 * height]
