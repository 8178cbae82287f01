"""Every checkpoint file: its place below ``models.root``, its size, who publishes it, who reads it.

Facts only; `dispose_stages.weights.verification` looks at the disk. Free of torch, because the
Snakefile is parsed again in every job.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SVD = "stable-video-diffusion-img2vid-xt-1-1"
SD15 = "stable-diffusion-v1-5"
MIMIC_MOTION = "MimicMotion_1-1.pth"
DISPOSE = "DisPose.pth"
CMP = "ckpt_iter_42000.pth.tar"
DETECTOR = "dwpose/yolox_l.onnx"
WHOLE_BODY = "dwpose/dw-ll_ucoco_384.onnx"

HUB = "https://huggingface.co/"
_CMP_FOLDER = "experiments/semiauto_annot/resnet50_vip+mpii_liteflow/checkpoints"


@dataclass(frozen=True, slots=True)
class Place:
    """One place and form in which a file is accepted.

    Attributes:
        path: Below ``models.root``, with slashes.
        size: Published size in bytes; None where another size is no error.
        at_least: Fewer bytes cannot hold the weights.
        sha256: Of the published file, where it is known; empty elsewhere.
    """

    path: str
    size: int | None = None
    at_least: int = 1
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """One file that has to be there, in any of its places.

    Attributes:
        places: Accepted places, best first; the first one's path is the file's name in this
            package.
        repository: On the hub, ``owner/name``.
        stages: The stages that read it.
        folder: In the repository.
        below: What of a place's path stands for that folder.
        licence_needed: The publisher asks for consent before the download.
        mark: Tensor that tells this model from those it is taken for; empty where none is needed.
        mark_shape: In the published file; empty where the name alone tells.
    """

    places: tuple[Place, ...]
    repository: str
    stages: frozenset[str]
    folder: str = ""
    below: str = ""
    licence_needed: bool = False
    mark: str = ""
    mark_shape: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The expected path."""
        return self.places[0].path

    @property
    def published(self) -> str:
        """Where to get it."""
        return f"{HUB}{self.repository}" + (f" ({self.folder})" if self.folder else "")

    def published_path(self, place: Place) -> str | None:
        """Path in the repository of the file for a place; None if that is no place of it."""
        if not place.path.startswith(self.below):
            return None
        path = place.path.removeprefix(self.below)
        return f"{self.folder}/{path}" if self.folder else path

    def describe_size(self) -> str:
        """Published size of the expected file, or the least it can have, in words."""
        first = self.places[0]
        if first.size is not None:
            return f"{first.size:,} bytes"
        return f"at least {first.at_least:,} bytes" if first.at_least > 1 else "any size"


def weight_names(part: str) -> tuple[str, ...]:
    """Accepted names of a weight file in a part's folder, best first.

    diffusers and transformers publish fp16 or fp32, safetensors or bin; plain names are used for
    either precision, and transformers calls its .bin files otherwise.
    """
    transformers = part in {"text_encoder", "image_encoder"}
    stems = ("model", "pytorch_model") if transformers else ("diffusion_pytorch_model",) * 2
    return tuple(
        f"{stem}{variant}.{suffix}"
        for stem, suffix in zip(stems, ("safetensors", "bin"), strict=True)
        for variant in (".fp16", "")
    )


def _weights(
    folder: str, part: str, parameters: int, *, half_size: int | None = None
) -> tuple[Place, ...]:
    names = weight_names(part)
    sizes = (half_size, *[None] * (len(names) - 1))
    return tuple(
        Place(f"{folder}/{part}/{name}", size, 2 * parameters)
        for name, size in zip(names, sizes, strict=True)
    )


def _svd() -> Iterable[CheckpointFile]:
    def file(places: tuple[Place, ...], *stages: str, **mark: Any) -> CheckpointFile:
        return CheckpointFile(
            places,
            f"stabilityai/{SVD}",
            frozenset(stages),
            below=f"{SVD}/",
            licence_needed=True,
            **mark,
        )

    vae, encoder = f"{SVD}/vae", f"{SVD}/image_encoder"
    vae_weights = _weights(SVD, "vae", 97_742_847, half_size=195_531_910)
    encoder_weights = _weights(SVD, "image_encoder", 632_076_800, half_size=1_264_217_240)
    # The UNet's own weights are not read: MimicMotion brings them.
    yield file((Place(f"{SVD}/unet/config.json"),), "sample")
    yield file((Place(f"{vae}/config.json"),), "sample", "mux", "score")
    time_conv, projection = "decoder.time_conv_out.weight", "visual_projection.weight"
    stages = ("sample", "mux", "score")
    yield file(vae_weights, *stages, mark=time_conv, mark_shape=(3, 3, 3, 1, 1))
    yield file((Place(f"{encoder}/config.json"),), "sample")
    yield file(encoder_weights, "sample", mark=projection, mark_shape=(1024, 1280))
    yield file((Place(f"{SVD}/scheduler/scheduler_config.json"),), "sample")
    yield file((Place(f"{SVD}/feature_extractor/preprocessor_config.json"),), "sample")


def _sd15() -> Iterable[CheckpointFile]:
    repository, below = "stable-diffusion-v1-5/stable-diffusion-v1-5", f"{SD15}/"
    stages = frozenset({"correspondence"})
    # Several publishers mirror these files, with headers of different length.
    attention = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    words = "text_model.embeddings.token_embedding.weight"
    weights = (
        (_weights(SD15, "unet", 859_520_964), attention, (1280, 768)),
        (_weights(SD15, "vae", 83_653_863), "post_quant_conv.weight", (4, 4, 1, 1)),
        (_weights(SD15, "text_encoder", 123_060_480), words, (49408, 768)),
    )
    plain = (
        "unet/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "tokenizer/tokenizer_config.json",
        "tokenizer/special_tokens_map.json",
        "scheduler/scheduler_config.json",
    )
    for path in plain:
        yield CheckpointFile((Place(f"{SD15}/{path}"),), repository, stages, below=below)
    for places, mark, shape in weights:
        yield CheckpointFile(places, repository, stages, below=below, mark=mark, mark_shape=shape)


def _single_files() -> Iterable[CheckpointFile]:
    for name, size, sha256 in (
        (DETECTOR, 216_746_733, "7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04b7791bb5880afabd97855a411"),
        (
            WHOLE_BODY,
            134_399_116,
            "724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843",
        ),
    ):
        # Both spellings of the folder are in use.
        spellings = name, name.replace("dwpose/", "DWPose/")
        places = tuple(Place(path, size, sha256=sha256) for path in spellings)
        yield CheckpointFile(places, "yzd-v/DWPose", frozenset({"pose", "score"}), below="dwpose/")
    cmp_size = 228_465_722
    cmp_places = (
        Place(CMP, cmp_size),
        Place(f"mimicmotion/modules/cmp/{_CMP_FOLDER}/{CMP}", cmp_size),
        Place(f"models/cmp/{_CMP_FOLDER}/{CMP}", cmp_size),
    )
    yield CheckpointFile(
        cmp_places,
        "MyNiuuu/MOFA-Video-Hybrid",
        frozenset({"motion"}),
        folder=f"models/cmp/{_CMP_FOLDER}",
    )
    sample = frozenset({"sample"})
    mimic = (Place(MIMIC_MOTION, 3_049_867_447),)
    yield CheckpointFile(mimic, "tencent/MimicMotion", sample)
    # The exact size is not known here; the parameters alone take this much.
    dispose = (Place(DISPOSE, None, 2_740_558_404),)
    mark = "controlnet_cond_embedding.conv_in_flow.weight"
    yield CheckpointFile(dispose, "lihxxx/DisPose", sample, mark=mark)


FILES: tuple[CheckpointFile, ...] = (*_single_files(), *_svd(), *_sd15())
"""All of them."""


def files_of(stages: Iterable[str] | None = None) -> tuple[CheckpointFile, ...]:
    """The files that these stages read; all without `stages`."""
    if stages is None:
        return FILES
    wanted = set(stages)
    return tuple(file for file in FILES if file.stages & wanted)
