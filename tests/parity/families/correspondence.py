"""Correspondence: DIFT on a toy Stable Diffusion, keypoint embedding, DDIM alphas, SD manifests."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from dispose_stages.correspondence.embedding import keypoint_embedding
from dispose_stages.correspondence.features import (
    diffusion_features,
    draw_noise,
    network_image,
)
from dispose_stages.models.autoencoder import build_latent_encoder
from dispose_stages.models.dift import cumulative_signal
from dispose_stages.models.feature_unet import build_feature_unet
from dispose_stages.weights.loading.dift import embed_prompt, load_dift, tokenize
from tests.parity.case import Case, Check, Family, formula_state, max_abs, relative_to_peak

Config = Mapping[str, Any]
TOY_TOKENIZER = Path("dift", "tokenizer")


def _build(part: str, config: Config) -> nn.Module:
    classes: dict[str, Callable[[], nn.Module]] = {
        "unet": lambda: UNet2DConditionModel.from_config(dict(config)),
        "vae": lambda: AutoencoderKL.from_config(dict(config)),
        "text_encoder": lambda: CLIPTextModel(CLIPTextConfig(**config)),
    }
    with torch.device("meta"):
        return classes[part]()


def file_shapes(part: str, config: Config) -> dict[str, tuple[int, ...]]:
    """Keys and shapes as in the published files (the text encoder's carry ``text_model.``)."""
    prefix = "text_model." if part == "text_encoder" else ""
    return {prefix + k: tuple(v.shape) for k, v in _build(part, config).state_dict().items()}


def write_sd_folder(
    folder: Path,
    configs: Mapping[str, Config],
    tokenizer: Path,
    *,
    prefixes: Mapping[str, str],
    salt: str,
) -> None:
    """A Stable Diffusion folder with formula weights.

    Args:
        folder: Where it goes.
        configs: Of ``unet``, ``vae``, ``text_encoder`` and ``scheduler``.
        tokenizer: Folder with the vocabulary.
        prefixes: Of the weight formula, per part.
        salt: Of the weight formula.
    """
    for part, config in configs.items():
        (folder / part).mkdir(parents=True)
        if part == "scheduler":
            (folder / part / "scheduler_config.json").write_text(json.dumps(config))
            continue
        (folder / part / "config.json").write_text(json.dumps(config))
        state = formula_state(file_shapes(part, config), prefix=prefixes[part], salt=salt)
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        tensors = {key: torch.from_numpy(value) for key, value in state.items()}
        save_file(tensors, folder / part / f"{stem}.safetensors")
    shutil.copytree(tokenizer, folder / "tokenizer")


def toy_configs(meta: Mapping[str, Any]) -> dict[str, Config]:
    """Configs of a ``dift/`` recording, by folder."""
    vocabulary = int(meta["vocab_size"])
    return {
        "unet": meta["unet_config"],
        "vae": meta["vae_config"],
        "text_encoder": {
            "vocab_size": vocabulary,
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
            **meta["text_config"],
        },
        "scheduler": meta["scheduler_config"],
    }


def _dift(case: Case) -> Iterator[Check]:
    meta = case.meta
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "sd"
        write_sd_folder(
            folder,
            toy_configs(meta),
            case.root / TOY_TOKENIZER,
            prefixes=meta["prefixes"],
            salt=case.salt,
        )
        prompts = (str(meta["prompt"]), "")
        length = case["input_ids"].shape[1]
        ids = torch.cat([tokenize(folder, prompt, length) for prompt in prompts])
        yield Check("input_ids", max_abs(ids, case["input_ids"]), 0)
        text = torch.cat([embed_prompt(folder, prompt) for prompt in prompts])
        yield Check("text_embeds", relative_to_peak(text, case["text_embeds"]), 3e-5)
        for index, prompt in enumerate(prompts):
            network = load_dift(
                folder, prompt=prompt, device="cpu", up_block=int(meta["up_ft_index"][index])
            )
            yield from _dift_pass(case, network, index)


def _dift_pass(case: Case, network: Any, index: int) -> Iterator[Check]:
    number, timestep = index + 1, int(case.meta["t"][index])
    image = case["image_u8"][0].transpose(1, 2, 0)
    posterior, diffusion = case[f"lat_noise_{number}"], case[f"dif_noise_{number}"]
    if index == 0:
        drawn = draw_noise(int(case.meta["torch_manual_seed"]), len(posterior), *image.shape[:2])
        yield Check("lat_noise_1", max_abs(drawn[0], posterior), 0)
        yield Check("dif_noise_1", max_abs(drawn[1], diffusion), 0)
    with torch.inference_mode():
        mean, deviation = network.posterior(network_image(image))
        latents = mean + deviation * torch.from_numpy(posterior)
        noisy = network.noisy(latents, torch.from_numpy(diffusion), timestep)
        first = network.features(noisy[:1], timestep)
    name = f"unet_in_{number}"
    yield Check(name, relative_to_peak(noisy, case[name]), 3e-5)
    name = f"feat_{number}_ens0"
    yield Check(name, relative_to_peak(first[0], case[name]), 3e-5)
    features = diffusion_features(
        network,
        image,
        (torch.from_numpy(posterior), torch.from_numpy(diffusion)),
        timestep=timestep,
        batch=len(posterior),
        device="cpu",
        dtype=torch.float32,
    )
    name = f"feat_{number}"
    yield Check(name, relative_to_peak(features[None], case[name]), 3e-5)


def _reference_embedding(case: Case) -> Iterator[Check]:
    points, visible = case.body()
    embedding = keypoint_embedding(
        torch.from_numpy(case["feat"][0]),
        points[0],
        visible[0],
        int(case.meta["H"]),
        int(case.meta["W"]),
    )
    yield Check("ref_point_emb", max_abs(embedding[None], case["ref_point_emb"]), 1e-5)


def _ddim(case: Case) -> Iterator[Check]:
    alphas = cumulative_signal(case.meta["config"])
    yield Check("alphas_cumprod", max_abs(alphas, case["alphas_cumprod"]), 1e-6)


def _manifest(case: Case) -> Iterable[Check]:
    part = case.path.stem.removeprefix("sd15_")
    recorded = {key: tuple(shape) for key, (shape, _) in case.json["tensors"].items()}
    ours = file_shapes(part, case.json["config"])
    yield Check("keys", len(ours.keys() ^ recorded.keys()), 0)
    yield Check("shapes", sum(ours.get(k) != shape for k, shape in recorded.items()), 0)
    builders: dict[str, Callable[[Config], nn.Module]] = {
        "unet": lambda config: build_feature_unet(config, up_block=1),
        "vae": build_latent_encoder,
        "text_encoder": lambda config: _build(part, config),
    }
    with torch.device("meta"):
        kept = builders[part](case.json["config"])
    prefix = "text_model." if part == "text_encoder" else ""
    stray = {prefix + key for key in kept.state_dict()} - recorded.keys()
    yield Check("kept keys not in the file", len(stray), 0)


FAMILIES = [
    Family("dift/*", _dift),
    Family("pure/ref_dift*", _reference_embedding),
    Family("scheduler/ddim*", _ddim),
    Family("manifests/sd15*", _manifest),
]
