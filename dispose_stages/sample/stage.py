"""Stage ``sample``: latents of a pair (algorithm §7-9)."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from dispose_stages.artifacts import Correspondence, Latents, MotionField
from dispose_stages.batch.stage import ArtifactRepository, Context, InterruptedUnitError, Stage
from dispose_stages.batch.unit import Unit
from dispose_stages.errors import Reason, UnitError
from dispose_stages.faults import descend
from dispose_stages.models import fused
from dispose_stages.models.arithmetic import full_float32
from dispose_stages.models.compilation import compile_blocks, compiled_so_far
from dispose_stages.models.temporal_convolution import channels_last
from dispose_stages.models.transformer import pack_projections
from dispose_stages.sample.ahead import ReadAhead
from dispose_stages.sample.clip import ClipInputs, Networks, sample_clip
from dispose_stages.sample.denoise import DenoisingState
from dispose_stages.sample.inputs import clip_inputs
from dispose_stages.sample.memory import Placement, Rung, ladder_for
from dispose_stages.sample.noise import LATENT_CHANNELS, LATENT_STRIDE, Noise, draw_noise
from dispose_stages.sample.recording import cuda_graph
from dispose_stages.sample.resume import (
    Progress,
    StateWriter,
    from_arrays,
    save_every,
    stop_within,
    to_arrays,
)
from dispose_stages.sample.unit import REVISION, SampleParams
from dispose_stages.store.files import FileState
from dispose_stages.store.media import read_still
from dispose_stages.weights import layout
from dispose_stages.weights.fitting import DTYPES
from dispose_stages.weights.loading.diffusion import load_diffusion_networks
from dispose_stages.weights.loading.svd import (
    load_image_encoder,
    load_image_normalization,
    load_noise_range,
    load_vae,
)

_logger = logging.getLogger(__name__)


class SampleWorker:
    """The diffusion networks, loaded.

    Args:
        networks: Ready to use.
    """

    def __init__(self, networks: Networks, placement: Placement, context: Context) -> None:
        self._networks = networks
        self._placement = placement
        self._context = context
        self._threads = ThreadPoolExecutor(context.config.compute.threads or None)
        self._ahead = ReadAhead(self._read, lambda unit: FileState.of(unit.source("image")))

    def expect(self, unit: Unit) -> None:
        """Open the next clip while this one is denoised."""
        self._ahead.begin(unit)

    def read(self, unit: Unit) -> dict[str, Any]:
        """Inputs of the clip, and the state in which an interrupted job left it.

        Raises:
            UnitError: The reference cannot be read.
        """
        return self._ahead.take(unit)

    def _read(self, unit: Unit) -> dict[str, Any]:
        params = SampleParams.read(unit)
        correspondence = None
        if params.correspondence_guidance:
            correspondence = self._context.read(unit, "correspondence", Correspondence)
        image = read_still(
            unit.source("image"), params.reference_frame, self._context.config.compute
        )
        motion = self._context.read(unit, "motion", MotionField)
        inputs = self.inputs(image, motion, correspondence, params)
        progress = self._progress(unit, inputs["inputs"], params)
        return inputs | {"progress": progress}

    def inputs(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        motion: MotionField,
        correspondence: Correspondence | None,
        params: SampleParams,
    ) -> dict[str, Any]:
        """The arguments of `compute`.

        Args:
            image: Reference, of any size.
            correspondence: Of the reference; not read without correspondence guidance.
        """
        guide = correspondence if params.correspondence_guidance else None
        inputs = clip_inputs(
            image,
            motion,
            guide.embedding if guide else None,
            motion_guidance=params.motion_guidance,
            compat=params.compat,
            device=self._networks.device,
            dtype=self._networks.dtype,
            executor=self._threads,
        )
        return {"inputs": inputs, "params": params}

    def compute(
        self,
        *,
        inputs: ClipInputs,
        params: SampleParams,
        progress: Progress | None = None,
    ) -> Latents:
        """Denoise one clip.

        Args:
            progress: Where to go on from, and what is done with each new state; None: from the
                start, and nothing.

        Raises:
            UnitError: ``oom`` if the device's memory does not suffice on the last rung,
                ``not_finite`` where the networks gave no number.
            InterruptedUnitError: The job was asked to stop; the state is saved.
        """
        noise = self._noise(inputs, params)
        progress = progress or Progress()

        def attempt(rung: Rung) -> Tensor:
            self._placement.settle(offload=rung.offload_idle)
            return sample_clip(
                inputs,
                self._networks,
                params,
                noise,
                rung,
                state=progress.state,
                after_step=progress,
                between=progress.between,
            )

        with torch.inference_mode(), full_float32():
            cells = inputs.image[0].numel() // LATENT_STRIDE**2
            rows = (1 + params.guided) * min(params.tile_size, inputs.frames) * cells
            tile_batch = self._context.config.sampling.tile_batch
            rungs = ladder_for(tile_batch, rows, self._networks.device, self._networks.dtype)
            try:
                latents, rung = descend({rung.name: partial(attempt, rung) for rung in rungs})
            finally:
                progress.settle()
            _logger.info("sampled on memory rung %r", rung)
            return Latents(_finite(latents.cpu().numpy()))

    def _noise(self, inputs: ClipInputs, params: SampleParams) -> Noise:
        height, width = inputs.image.shape[-2:]
        return draw_noise(
            params.seed,
            height=height,
            width=width,
            tile_size=params.tile_size,
            device=self._networks.device,
            source=params.noise,
            device_dtype=self._networks.dtype,
        )

    def _progress(self, unit: Unit, inputs: ClipInputs, params: SampleParams) -> Progress:
        """Where the clip stands, and how its further states are kept."""
        store, steps = self._context.store, params.num_inference_steps
        size = (side // LATENT_STRIDE for side in inputs.image.shape[-2:])
        like = torch.empty((inputs.frames, LATENT_CHANNELS, *size), device=self._networks.device)
        stored = store.read_partial(unit.stage, unit.key)
        state = from_arrays(stored, like=like, steps=steps, solver=params.solver)
        if state:
            _logger.info("%s goes on at step %d of %d", unit.label, state.step, steps)

        def save(state: DenoisingState) -> None:
            arrays, attributes = to_arrays(state, steps)
            _finite(arrays["latents"])
            store.write_partial(unit.stage, unit.key, arrays, attributes)

        writer = StateWriter(save, self._threads)
        end = partial(InterruptedUnitError, "stopped while denoising; it is saved")
        asked: Any = {"stop_requested": self._context.stop_requested, "interrupt": end}
        every = self._context.config.sampling.checkpoint_every
        keep = save_every(every, writer, begun=state.step if state else 0, **asked)

        def after_step(state: DenoisingState) -> None:
            self._context.say_step(state.step, steps)
            keep(state)

        return Progress(state, after_step, writer.wait, stop_within(writer, **asked))


def _finite(latents: Float32[np.ndarray, "f 4 h w"]) -> Float32[np.ndarray, "f 4 h w"]:
    if not np.isfinite(latents).all():
        raise UnitError(Reason.NUMERIC, "the latents are not finite")
    return latents


def load(context: Context) -> SampleWorker:
    """Load all networks of sampling.

    Raises:
        WeightsError: A checkpoint is missing or does not fit.
    """
    placement = Placement(torch.device(context.device))
    dtype = DTYPES[context.config.sampling.precision]
    networks = load_networks(context.models_root, dtype, placement)
    # On a CPU, compiling takes longer than it saves.
    if context.device == "cuda" and context.config.sampling.compile == "auto":
        compile_blocks([networks.unet, networks.control_net], context.config.compute.compile_cache)
        networks = replace(networks, capture=cuda_graph)
    return SampleWorker(networks, placement, context)


def load_networks(root: Path, dtype: torch.dtype, placement: Placement) -> Networks:
    """Everything `sample_clip` runs, from the folder of the checkpoints."""
    svd, device = root / layout.SVD, placement.device
    unet, pose_net, control_net = load_diffusion_networks(root, dtype=dtype, device=device)
    # The VAE's encoder overflows in float16; it runs once per clip.
    vae_dtype = torch.float32 if dtype == torch.float16 else dtype
    vae = load_vae(svd, dtype=vae_dtype, device=device)
    encoder = load_image_encoder(svd, dtype=dtype, device=device)
    for network in (unet, control_net, pose_net):
        channels_last(network)
        if device.type == "cuda":
            pack_projections(network)
    placement.manage([unet, control_net, pose_net, vae, encoder])
    mean, std = load_image_normalization(svd)

    def image_embedding(pixels: Tensor) -> Tensor:
        with placement.resident(encoder):
            embedding: Tensor = encoder(pixels.to(dtype))
            return embedding

    def posterior_mode(image: Tensor) -> Tensor:
        with placement.resident(vae):
            mode: Tensor = vae.encode(image.to(vae_dtype))
            return mode

    return Networks(
        unet=unet,
        control_net=control_net,
        pose_net=pose_net,
        image_embedding=image_embedding,
        posterior_mode=posterior_mode,
        image_mean=mean,
        image_std=std,
        noise_range=load_noise_range(svd),
        device=device,
        dtype=dtype,
        resident=placement.resident,
    )


class SampleRepository(ArtifactRepository):
    """The usual repository; on a GPU, artifacts say by what arithmetic they came about.

    Results of one key agree across cards, drivers and compilers within a bound, not in every bit.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._on_gpu = context.device == "cuda"

    def provenance(self, unit: Unit) -> dict[str, Any]:
        """With the card, and whether the compiler's code ran."""
        if not self._on_gpu:
            return super().provenance(unit)
        arithmetic = {
            "gpu": torch.cuda.get_device_name(),
            "compiled": compiled_so_far(),
            "fused": fused.so_far(),
        }
        return super().provenance(unit) | {"arithmetic": arithmetic}


STAGE = Stage("sample", REVISION, open=load, repository=SampleRepository)
