"""Every checkpoint file: its place below ``models.root``, its size, who publishes it, who reads it.

Facts only; `dispose_stages.weights.verification` looks at the disk. Free of torch, because the
Snakefile is parsed again in every job.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SVD = "stable-video-diffusion-img2vid-xt-1-1"
SD15 = "stable-diffusion-v1-5"
MIMIC_MOTION = "MimicMotion_1-1.pth"
DISPOSE = "DisPose.pth"
CMP = "ckpt_iter_42000.pth.tar"
DETECTOR = "dwpose/yolox_l.onnx"
WHOLE_BODY = "dwpose/dw-ll_ucoco_384.onnx"

_HUB = "https://huggingface.co/"
_CMP_FOLDER = "experiments/semiauto_annot/resnet50_vip+mpii_liteflow/checkpoints"


@dataclass(frozen=True, slots=True)
class Place:
    """One place and form in which a file is accepted.

    Attributes:
        path: Below ``models.root``, with slashes.
        size: Published size in bytes; None where another size is no error.
        at_least: Fewer bytes cannot hold the weights.
    """

    path: str
    size: int | None = None
    at_least: int = 1


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """One file that has to be there, in any of its places.

    Attributes:
        places: Accepted places, best first; the first one's path is the file's name in this
            package.
        published: Where to get it.
        stages: The stages that read it.
        licence_needed: The publisher asks for consent before the download.
    """

    places: tuple[Place, ...]
    published: str
    stages: frozenset[str]
    licence_needed: bool = False

    @property
    def name(self) -> str:
        """The expected path."""
        return self.places[0].path

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
    url = f"{_HUB}stabilityai/{SVD}"

    def file(places: tuple[Place, ...], *stages: str) -> CheckpointFile:
        return CheckpointFile(places, url, frozenset(stages), licence_needed=True)

    vae, encoder = f"{SVD}/vae", f"{SVD}/image_encoder"
    vae_weights = _weights(SVD, "vae", 97_742_847, half_size=195_531_910)
    encoder_weights = _weights(SVD, "image_encoder", 632_076_800, half_size=1_264_217_240)
    # The UNet's own weights are not read: MimicMotion brings them.
    yield file((Place(f"{SVD}/unet/config.json"),), "sample")
    yield file((Place(f"{vae}/config.json"),), "sample", "mux", "score")
    yield file(vae_weights, "sample", "mux", "score")
    yield file((Place(f"{encoder}/config.json"),), "sample")
    yield file(encoder_weights, "sample")
    yield file((Place(f"{SVD}/scheduler/scheduler_config.json"),), "sample")
    yield file((Place(f"{SVD}/feature_extractor/preprocessor_config.json"),), "sample")


def _sd15() -> Iterable[CheckpointFile]:
    url = f"{_HUB}stable-diffusion-v1-5/stable-diffusion-v1-5"
    stages = frozenset({"correspondence"})
    # Several publishers mirror these files, with headers of different length.
    weights = (
        _weights(SD15, "unet", 859_520_964),
        _weights(SD15, "vae", 83_653_863),
        _weights(SD15, "text_encoder", 123_060_480),
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
        yield CheckpointFile((Place(f"{SD15}/{path}"),), url, stages)
    for places in weights:
        yield CheckpointFile(places, url, stages)


def _single_files() -> Iterable[CheckpointFile]:
    dwpose = f"{_HUB}yzd-v/DWPose"
    for name, size in ((DETECTOR, 216_746_733), (WHOLE_BODY, 134_399_116)):
        # Both spellings of the folder are in use.
        places = Place(name, size), Place(name.replace("dwpose/", "DWPose/"), size)
        yield CheckpointFile(places, dwpose, frozenset({"pose", "score"}))
    cmp_size = 228_465_722
    cmp_places = (
        Place(CMP, cmp_size),
        Place(f"mimicmotion/modules/cmp/{_CMP_FOLDER}/{CMP}", cmp_size),
        Place(f"models/cmp/{_CMP_FOLDER}/{CMP}", cmp_size),
    )
    cmp_url = f"{_HUB}MyNiuuu/MOFA-Video-Hybrid (models/cmp/{_CMP_FOLDER})"
    yield CheckpointFile(cmp_places, cmp_url, frozenset({"motion"}))
    sample = frozenset({"sample"})
    mimic = (Place(MIMIC_MOTION, 3_049_867_447),)
    yield CheckpointFile(mimic, f"{_HUB}tencent/MimicMotion", sample)
    # The exact size is not known here; the parameters alone take this much.
    dispose = (Place(DISPOSE, None, 2_740_558_404),)
    yield CheckpointFile(dispose, f"{_HUB}lihxxx/DisPose", sample)


FILES: tuple[CheckpointFile, ...] = (*_single_files(), *_svd(), *_sd15())
"""All of them."""


def files_of(stages: Iterable[str] | None = None) -> tuple[CheckpointFile, ...]:
    """The files that these stages read; all without `stages`."""
    if stages is None:
        return FILES
    wanted = set(stages)
    return tuple(file for file in FILES if file.stages & wanted)
