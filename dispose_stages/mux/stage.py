"""Stage ``mux``: latents to a delivered video (algorithm §9, decoding and encoding).

The VAE decodes the next chunk while ffmpeg encodes the current one; frames go through a pipe and
never to disk. The result is a file with the pair's name and a sidecar, not an artifact.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image

from dispose_stages import __version__
from dispose_stages.artifacts import Latents
from dispose_stages.batch.machine import keep_freed_memory
from dispose_stages.batch.stage import Context, InterruptedUnitError, Stage
from dispose_stages.batch.unit import Result, Unit
from dispose_stages.config import Compute
from dispose_stages.errors import Reason, StoreError, UnitError
from dispose_stages.geometry.frames import effective_stride, paced_rate
from dispose_stages.models.prefetch import prefetch
from dispose_stages.models.video_decoder import VaeDecoder, decode_video
from dispose_stages.mux.sound import driver_stretch
from dispose_stages.mux.unit import REVISION, MuxParams
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.freed import provenance
from dispose_stages.store.provenance import DIGITAL_SOURCE_TYPE
from dispose_stages.store.recipe import recipe
from dispose_stages.store.shelf import Video, VideoShelf
from dispose_stages.store.video import VideoReader
from dispose_stages.store.video_writer import Audio, VideoWriter, audio_stretch
from dispose_stages.weights import layout
from dispose_stages.weights.fitting import DTYPES
from dispose_stages.weights.loading.svd import load_vae

Pixels = UInt8[np.ndarray, "h w 3"]


class VideoRepository:
    """Delivered videos as the results of units."""

    def __init__(self, shelf: VideoShelf, store: ArtifactStore) -> None:
        self._shelf = shelf
        self._store = store

    def find(self, unit: Unit) -> Result | None:
        """The video if it is there with this key."""
        found = self._shelf.find(unit.id, unit.key)
        return _result(found) if found else None

    def commit(self, unit: Unit, artifact: Video) -> Result:
        """Give the staged video its name."""
        params = MuxParams.read(unit)
        read = [(unit.upstream[role][0], r.key, r.digest) for role, r in unit.inputs.items()]
        provenance = unit.provenance() | {"recipe": recipe(self._store, read)}
        delivered = self._shelf.commit(
            params.pair_id, unit.key, artifact, provenance, container=params.container
        )
        return _result(delivered)

    def lease_path(self, unit: Unit) -> Path:
        """Beside the videos: another run's jobs deliver into another folder."""
        return self._shelf.staging(unit.id, unit.key, ".lease")


def _result(video: Video) -> Result:
    facts = {
        "file": video.path.name,
        "frames": video.frames,
        "height": video.height,
        "width": video.width,
        "fps": video.fps,
        "size_bytes": video.size_bytes,
    }
    if video.made_fps is not None:
        facts["made_fps"] = video.made_fps
    return Result(key=video.key, digest=video.digest, facts=facts)


class MuxWorker:
    """The VAE loaded, ffmpeg at hand."""

    def __init__(self, decoder: VaeDecoder, context: Context) -> None:
        self._decoder = decoder
        self._context = context
        self._shelf = VideoShelf(context.videos)

    def read(self, unit: Unit) -> dict[str, Any]:
        """The latents, and a writer of the file that they become under a temporary name.

        Raises:
            UnitError: ``not_finite`` or ``no_frames``: there is nothing to be seen.
        """
        params = MuxParams.read(unit)
        latents = self._context.read(unit, "sample", Latents).latents
        if not np.isfinite(latents).all():
            raise UnitError(Reason.NUMERIC, "the latents are not finite")
        if len(latents) < 2:
            raise UnitError(Reason.NO_FRAMES, "nothing beside the reference")
        height, width = (8 * size for size in latents.shape[2:])
        writer = VideoWriter(
            self._shelf.staging(unit.id, unit.key, f".{params.container}"),
            (height, width),
            _made_rate(unit, params),
            params.encoding,
            resampled=_resampled(unit, params, len(latents) - 1),
            tags=tags_of(unit, self._context),
            audio=_audio(unit, params, len(latents) - 1, self._context.config.compute),
        )
        folder = self._frames_folder(unit) if params.png_frames else None
        return {
            "latents": latents,
            "chunk_size": params.decode_chunk_size,
            "context": params.decode_context,
            "writer": writer,
            "frames_folder": folder,
        }

    def compute(
        self,
        *,
        latents: Float32[np.ndarray, "f 4 h w"],
        chunk_size: int,
        context: int = 0,
        writer: VideoWriter,
        frames_folder: Path | None = None,
    ) -> Video:
        """Decode and encode one clip.

        Args:
            latents: In the VAE's scaled space, reference included.
            chunk_size: Frames that are decoded together.
            context: Frames that are decoded with them on both sides.
            frames_folder: Where frames go as PNG files too.

        Raises:
            UnitError: ``not_finite`` or ``encode_failed``.
            InterruptedUnitError: The job was asked to stop.
        """
        with writer:
            for frame in self.decode(latents, chunk_size, context):
                if frames_folder is not None:
                    Image.fromarray(frame).save(frames_folder / f"{writer.frames:05d}.png")
                writer.write(frame)
        height, width, _ = writer.shape
        fps, frames = writer.resampled or (writer.fps, writer.frames)
        return Video(
            writer.path,
            frames,
            height,
            width,
            fps,
            made_fps=writer.fps if writer.resampled else None,
            frames_folder=frames_folder,
            metadata=writer.tags,
        )

    def _frames_folder(self, unit: Unit) -> Path:
        folder = self._shelf.staging(unit.id, unit.key, ".frames")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def decode(
        self, latents: Float32[np.ndarray, "f 4 h w"], chunk_size: int, context: int = 0
    ) -> Iterator[Pixels]:
        """The frames of a clip, without the reference, before they are encoded."""
        chunks = decode_video(
            torch.from_numpy(latents),
            self._decoder,
            chunk_size=chunk_size,
            scaling_factor=self._decoder.scaling_factor,
            dtype=self._decoder.dtype,
            context=context,
            device=self._context.device,
        )
        done = 0
        for chunk in prefetch((chunk.cpu().numpy() for chunk in chunks), 1):
            done += len(chunk)
            self._context.say_step(done, len(latents) - 1)
            if self._context.stop_requested():
                raise InterruptedUnitError("stopped while decoding")
            yield from chunk


def _made_rate(unit: Unit, params: MuxParams) -> float:
    """Frames per second that are decoded; of the output too where none are interpolated."""
    if params.fps != "driver" and not params.paced:
        return params.fps
    return paced_rate(float(unit.inputs["media"].facts["fps"]), params.sample_stride)


def _resampled(unit: Unit, params: MuxParams, frames: int) -> tuple[float, int] | None:
    """The output's rate and length where it is interpolated; it lasts as long as the frames."""
    if params.interpolate == "none" or params.fps == "driver":
        return None
    return params.fps, max(1, round(frames * params.fps / _made_rate(unit, params)))


def _audio(unit: Unit, params: MuxParams, frames: int, compute: Compute) -> Audio | None:
    """The driver's sound, if it is wanted and there is any."""
    if not params.copy_audio:
        return None
    with VideoReader(unit.source("video"), reader="av", compute=compute) as driver:
        codec = driver.facts.audio_codec
        start = driver.shown_at(params.start_frame)
        seconds, tempo = driver_stretch(
            frames,
            _made_rate(unit, params),
            driver_fps=driver.fps,
            stride=effective_stride(params.sample_stride, driver.fps),
        )
    if not codec:
        return None
    return audio_stretch(driver.path, codec, start_seconds=start, seconds=seconds, tempo=tempo)


def tags_of(unit: Unit, context: Context) -> dict[str, str]:
    """What the video file says of itself: that it is synthetic, and what it was made from."""
    params = MuxParams.read(unit)
    tags = {
        "synthetic": "true",
        "digital_source_type": DIGITAL_SOURCE_TYPE,
        "pair_id": params.pair_id,
        "seed": str(params.seed),
        "compat": params.compat,
        "precision": params.precision,
        "weights": context.config.models.bundle,
        "dispose_version": __version__,
        "mux_key": unit.key,
    }
    if params.interpolate != "none":
        tags["interpolated"] = params.interpolate
        tags["made_fps"] = f"{_made_rate(unit, params):.6g}"
    for role, result in unit.inputs.items():
        tags |= _upstream_tags(context.store, role, unit.upstream[role][0], result.key)
    media = {"reference_digest": "sample_media_key", "driver_digest": "driving_pose_media_key"}
    return tags | {name: tags[key] for name, key in media.items() if key in tags}


def _upstream_tags(store: ArtifactStore, role: str, stage: str, key: str) -> dict[str, str]:
    tags = {f"{role}_key": key}
    for name, upstream, above in _made_from(store, stage, key):
        nested = name if name != "media" else f"{role}_media"
        tags |= _upstream_tags(store, nested, upstream, above)
    return tags


def _made_from(store: ArtifactStore, stage: str, key: str) -> list[tuple[str, str, str]]:
    """Role, stage and key of what an artifact says it was made from; nothing for media."""
    try:
        upstream = provenance(store, stage, key)["upstream"]
        return [(role, str(item["stage"]), str(item["key"])) for role, item in upstream.items()]
    except (StoreError, LookupError, TypeError, AttributeError):
        return []


def load(context: Context) -> MuxWorker:
    """Load the VAE."""
    if context.device == "cpu":
        keep_freed_memory()
    dtype = DTYPES[context.config.sampling.precision]
    vae = load_vae(context.models_root / layout.SVD, dtype=dtype, device=context.device)
    return MuxWorker(VaeDecoder(vae), context)


STAGE = Stage(
    "mux",
    REVISION,
    open=load,
    repository=lambda context: VideoRepository(VideoShelf(context.videos), context.store),
)
