from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dispose_stages.errors import WeightsError
from dispose_stages.models.dift import DiftNetwork
from dispose_stages.weights.loading.dift import load_dift
from tests.toy_sd import rewrite_weights, write_toy_sd


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_toy_sd(tmp_path / "sd")


def load(folder: Path, **options: object) -> DiftNetwork:
    return load_dift(folder, prompt="photo of a human", device="cpu", **options)  # type: ignore[arg-type]


def run(network: DiftNetwork) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 3, 64, 128), generator=generator) * 2 - 1
    noise = torch.randn((1, 4, 8, 16), generator=generator)
    with torch.inference_mode():
        mean, deviation = network.posterior(image)
        return network.features(network.noisy(mean + deviation * noise, noise, 261), 261)


def test_feature_is_a_sixteenth_of_the_image(folder: Path) -> None:
    """The output of up block 1, with as many channels as the configuration says."""
    assert run(load(folder)).shape == (1, 16, 4, 8)


@pytest.mark.parametrize("ending", [".fp16.safetensors", ".fp16.bin"])
def test_published_forms_agree(folder: Path, ending: str) -> None:
    """Half-precision variant files give the features of the plain ones, up to their rounding."""
    expected = run(load(folder))
    rewrite_weights(folder, dtype=torch.float16, ending=ending)
    torch.testing.assert_close(run(load(folder)), expected, rtol=0.05, atol=0.05)


def test_plain_bin_is_identical(folder: Path) -> None:
    """The container does not matter."""
    expected = run(load(folder))
    rewrite_weights(folder, dtype=torch.float32, ending=".bin")
    assert torch.equal(run(load(folder)), expected)


def test_old_attention_names_are_understood(folder: Path) -> None:
    """Published VAE files call the attention's layers query, key, value and proj_attn."""
    expected = run(load(folder))
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    state = {}
    for key, value in load_file(path).items():
        for new, former in old.items():
            key = key.replace(new, former)  # noqa: PLW2901
        state[key] = value
    assert any(".proj_attn." in key for key in state)
    save_file(state, path)
    assert torch.equal(run(load(folder)), expected)


def test_nothing_after_the_feature_is_allocated(folder: Path) -> None:
    """No later up blocks, no output layers, no VAE decoder, no text encoder; no meta tensors."""
    network = load(folder)
    names = {name.split(".")[0] for name, _ in network.unet.named_parameters()}
    assert names == {"conv_in", "time_embedding", "down_blocks", "mid_block", "up_blocks"}
    assert len(network.unet.up_blocks) == 2
    assert {name.split(".")[0] for name, _ in network.vae.named_parameters()} == {
        "encoder",
        "quant_conv",
    }
    parameters = [*network.unet.parameters(), *network.vae.parameters()]
    assert not any(p.is_meta or p.requires_grad for p in parameters)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_weights_that_do_not_fit_are_named(folder: Path, part: str, change: str) -> None:
    """A needed tensor missing, an unknown one, or a wrong shape is an error with its name."""
    path = next((folder / part).glob("*.safetensors"))
    state = load_file(path)
    key = next(k for k in sorted(state) if "encoder" in k or "down_blocks" in k)
    if change == "missing":
        del state[key]
    elif change == "unexpected":
        key = "surplus.weight"
        state[key] = torch.zeros(1)
    else:
        state[key] = torch.zeros((3, 1, 2))
    save_file(state, path)
    own = key.removeprefix("text_model.").replace(".", r"\.")
    with pytest.raises(WeightsError, match=own):
        load(folder)


def test_absent_parts_are_named(folder: Path) -> None:
    """A folder without weights, or without a configuration, is one clear error."""
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"unet: none of diffusion_pytorch_model\.fp16"):
        load(folder)
    (folder / "text_encoder" / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"text_encoder/config\.json"):
        load(folder)


def test_prompt_conditions_the_features(folder: Path) -> None:
    """Another prompt gives other features."""
    other = load_dift(folder, prompt="", device="cpu")
    assert not torch.allclose(run(load(folder)), run(other))
