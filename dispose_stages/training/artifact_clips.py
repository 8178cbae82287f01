"""Training clips from the pipeline's own artifacts: stage 2 on a data set of one's own.

Run the pipeline up to ``motion`` and ``correspondence`` over a manifest in which every reference is
a frame of its own driving video. The alignment is then nearly the identity, the driving frames are
the truth, and the artifacts hold every condition of the ControlNet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from dispose_stages.artifacts import Correspondence, MotionField
from dispose_stages.batch.layout import RunLayout
from dispose_stages.config import Compute
from dispose_stages.geometry.frames import cover_resize
from dispose_stages.sample.inputs import motion_fields, pose_rasters
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.media import read_still
from dispose_stages.store.video import VideoReader
from dispose_stages.training.control import ControlBatch


@dataclass(frozen=True, slots=True)
class ArtifactPair:
    """A pair of a run whose conditions are in the store."""

    reference: Path
    video: Path
    motion_key: str
    correspondence_key: str
    reference_frame: int | None = None


ArtifactClip = dict[str, Tensor]
"""The reference and some consecutive driving frames, with the ControlNet's conditions:

``images`` (RGB at target size, the reference first) and the entries of `ControlBatch` but for
latents, context and weight, without the axis of clips.
"""


def pairs_of_run(run_dir: Path, media_root: Path) -> list[ArtifactPair]:
    """Pairs whose motion and correspondence are done, from the run's ``index.parquet``.

    Args:
        run_dir: Results of the run; `dispose report` has written its index.
        media_root: Folder that the manifest's paths start at.
    """
    import pandas as pd

    table = pd.read_parquet(RunLayout(run_dir).index)
    done = table.dropna(subset=["key_motion", "key_correspondence"])
    return [
        ArtifactPair(
            media_root / row["reference_image"],
            media_root / row["driving_video"],
            row["key_motion"],
            row["key_correspondence"],
            None if pd.isna(row["reference_frame"]) else int(row["reference_frame"]),
        )
        for row in done.to_dict("records")
    ]


class ArtifactClips(Dataset[ArtifactClip]):
    """One clip per pair and epoch; which frames, is drawn from the epoch and the pair.

    Args:
        frames: Of a clip, the reference included.
    """

    def __init__(
        self, pairs: Sequence[ArtifactPair], store: Path, *, frames: int, compute: Compute
    ) -> None:
        self.pairs, self.frames, self.epoch = list(pairs), frames, 0
        self._compute = compute
        self._store = ArtifactStore(store)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> ArtifactClip:
        pair = self.pairs[index]
        motion = self._store.read("motion", pair.motion_key, MotionField)
        features = self._store.read("correspondence", pair.correspondence_key, Correspondence)
        rng = np.random.default_rng((self.epoch, index, 43))
        driving = len(motion.poses) - 1
        length = min(self.frames - 1, driving)
        start = int(rng.integers(0, driving - length + 1))
        chosen = slice(start, start + length)
        with ThreadPoolExecutor(1) as executor:
            rasters = pose_rasters(motion, device=torch.device("cpu"), executor=executor)
            drawn = [rasters(slice(0, 1)), rasters(slice(start + 1, start + 1 + length))]
        points, visible = motion.body_track()
        fields = motion_fields(
            motion,
            (points, visible),
            compat="official",
            device=torch.device("cpu"),
            dtype=torch.float32,
        )
        dense, trajectory = fields(chosen)
        rows = [0, *range(start + 1, start + 1 + length)]
        return {
            "images": _images(pair, motion, chosen, self._compute),
            "poses": torch.cat(drawn),
            "dense": dense,
            "trajectory": trajectory,
            "embedding": torch.from_numpy(features.embedding),
            "points": torch.from_numpy(points[rows]),
            "visible": torch.from_numpy(visible[rows]),
        }


def _images(
    pair: ArtifactPair, motion: MotionField, chosen: slice, compute: Compute
) -> UInt8[Tensor, "f 3 h w"]:
    indices = motion.poses.frame_indices[1:][chosen].tolist()
    with VideoReader(pair.video, compute=compute) as reader:
        frames = [frame for _, frame in reader.frames(indices)]
    images = [
        cover_resize(image, motion.height, motion.width)
        for image in (read_still(pair.reference, pair.reference_frame, compute), *frames)
    ]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def encode_clips(
    clips: Mapping[str, Tensor],
    posterior_mode: Callable[[Float32[Tensor, "n 3 h w"]], Float[Tensor, "n 4 h8 w8"]],
    image_embedding: Callable[[UInt8[Tensor, "3 h w"]], Float[Tensor, "d"]],
    device: torch.device | str,
) -> ControlBatch:
    """A batch for `ControlObjective`.

    Args:
        clips: Stacked by a `DataLoader`; all of one size and length.
        posterior_mode: Frozen VAE encoder; frames in [-1, 1] to unscaled latents.
        image_embedding: Frozen CLIP with its preparation.
    """
    given = {name: value.to(device) for name, value in clips.items()}
    images = given.pop("images")
    with torch.no_grad():
        latents = torch.stack([posterior_mode(clip.float() / 127.5 - 1).float() for clip in images])
        context = torch.stack([image_embedding(clip[0]).float() for clip in images])
    weight = torch.ones_like(latents[:, :, :1])
    return ControlBatch(latents=latents, context=context, weight=weight, **given)
