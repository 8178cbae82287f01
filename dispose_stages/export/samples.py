"""One pair of a finished run as the files and the record of a sample."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from dispose_stages.artifacts import PoseTrack
from dispose_stages.config import Compute
from dispose_stages.errors import ArtifactCorruptError, ArtifactMissingError, UnitError
from dispose_stages.export.pose_arrays import detected_arrays, pose_arrays, trajectory_arrays
from dispose_stages.export.selection import LeftOut, Record
from dispose_stages.export.settings import Extra
from dispose_stages.geometry.frames import cover_resize
from dispose_stages.store.archive import pack
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.encoding import decode
from dispose_stages.store.files import file_digest
from dispose_stages.store.media import read_still
from dispose_stages.store.shelf import Video, VideoShelf

REFERENCE, POSE, RECORD = "reference.png", "pose.npz", "json"
_KEPT_REFERENCES = 64
_PRIVATE = frozenset({"status", "failed_stage", "reason", "message", "output"})
_PRIVATE_PREFIXES = ("seconds_", "path_")
_MEDIA = frozenset({"reference_image", "driving_video", "truth_video"})
"""Columns with paths, of which the names of the files are published."""
_ADDED = {
    "key": pa.string(),
    "file": pa.string(),
    "split": pa.string(),
    "synthetic": pa.bool_(),
    "libraries": pa.string(),
}
_TAKEN = frozenset({*_ADDED, "video", "reference", "pose", *Extra} - {"split", "frames"})


class SampleMissingError(Exception):
    """A pair cannot become a sample.

    Attributes:
        reason: Why.
    """

    def __init__(self, reason: LeftOut, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Sample:
    """Everything about one pair.

    Attributes:
        key: Its name within the data set.
        files: Ending to content; the video's ending is that of its container.
        record: What is known of it.
    """

    key: str
    files: Mapping[str, bytes]
    record: Record


def sample_key(pair_id: str) -> str:
    """The pair's id without dots: readers of tar shards end the name at the first dot."""
    return pair_id.replace(".", "%2E")


def published_name(column: str) -> str | None:
    """Name of a column of the index in the data set; None for what is not published."""
    if column in _PRIVATE or column.startswith(_PRIVATE_PREFIXES):
        return None
    # Readers of video folders take such columns for media beside the record.
    plain = column.replace("file_name", "filename")
    return f"manifest_{plain}" if plain in _TAKEN else plain


def published_schema(index: pa.Schema) -> pa.Schema:
    """Columns of the data set's records."""
    columns = {name: kind for name, kind in _ADDED.items() if name != "split"}
    for column in index:
        if (name := published_name(column.name)) and name != "split":
            columns[name] = column.type
    columns["split"] = pa.string()
    first = ["key", "split", "file"]
    order = [*first, *(name for name in columns if name not in first)]
    return pa.schema([(name, columns[name]) for name in order])


def published_record(record: Record) -> Record:
    """A record of the index as it is published: without the machine's paths and times."""
    published = {
        name: value
        for column, value in record.items()
        if (name := published_name(column)) is not None
    }
    for media in _MEDIA & published.keys():
        published[media] = Path(published[media]).name if published[media] else None
    return {**published, "key": sample_key(record["pair_id"]), "synthetic": True}


@dataclass(frozen=True, slots=True)
class SampleReader:
    """Collects what belongs to a sample.

    Attributes:
        store: Artifacts of the run.
        shelf: Its videos.
        compute: What decoding an image may take.
        extras: What is wanted beside video, reference and pose.
        sign: Adds a signature to an encoded video; called with it, its container and the record.
    """

    store: ArtifactStore
    shelf: VideoShelf
    compute: Compute
    extras: tuple[Extra, ...] = ()
    sign: Callable[[bytes, str, Record], bytes] = field(default=lambda video, _, __: video)

    def read(self, record: Record) -> Sample:
        """All files of one pair.

        Raises:
            SampleMissingError: Something it needs is gone, or not what the index says.
        """
        delivered, video = self._video(record)
        if delivered.made_fps is not None:
            raise SampleMissingError(LeftOut.INTERPOLATED, record["output"])
        published = published_record(record)
        libraries = sorted(delivered.libraries.items())
        published["libraries"] = ", ".join(f"{name} {version}" for name, version in libraries)
        container = delivered.path.suffix.removeprefix(".")
        files = {
            container: self.sign(video, container, published),
            REFERENCE: self._reference(record),
            **self._arrays(record, delivered.frames),
        }
        if Extra.FRAMES in self.extras:
            files["frames.zip"] = self._frames(delivered)
        return Sample(sample_key(record["pair_id"]), files, published)

    def _video(self, record: Record) -> tuple[Video, bytes]:
        found = self.shelf.find(record["pair_id"], record["key_mux"])
        try:
            content = found.path.read_bytes() if found is not None else b""
        except OSError:
            content = b""
        if found is None or hashlib.sha256(content).hexdigest() != record["video_digest"]:
            raise SampleMissingError(LeftOut.VIDEO_CHANGED, record["output"])
        return found, content

    def _reference(self, record: Record) -> bytes:
        path, digest = record["reference_image"], record["reference_digest"]
        frame, size = record.get("reference_frame"), (record["height"], record["width"])
        return _reference_png(path, digest, frame, *size, self.compute)

    def _arrays(self, record: Record, frames: int) -> dict[str, bytes]:
        key = record["key_motion"]
        parts = ["poses", "person"] + (["cmp_flow"] if Extra.FIELD in self.extras else [])
        try:
            tree = self.store.read_part("motion", key, *parts)
            poses = decode(tree.groups["poses"], PoseTrack)
            person, values = tree.arrays["person"], tree.values
        except (ArtifactMissingError, ArtifactCorruptError, KeyError) as error:
            raise SampleMissingError(LeftOut.ARTIFACT_MISSING, str(error)) from None
        size = (int(str(values["height"])), int(str(values["width"])))
        if len(poses) != frames + 1 or size != (record["height"], record["width"]):
            raise SampleMissingError(LeftOut.VIDEO_CHANGED, f"{record['output']}: another motion")
        pose = {**pose_arrays(poses, person, *size), **self._detected(record, frames)}
        files = {POSE: _npz(pose)}
        if Extra.TRAJECTORIES in self.extras:
            files["trajectories.npz"] = _npz(trajectory_arrays(poses, person, *size))
        if Extra.FIELD in self.extras:
            from dispose_stages.geometry.dense_field import from_fixed_point  # imports torch

            flow = from_fixed_point(tree.arrays["cmp_flow"]).astype(np.float16)
            files["field.npz"] = _npz({"flow": flow, "scale": _field_scale(flow, *size)})
        return files

    def _detected(self, record: Record, frames: int) -> dict[str, np.ndarray]:
        """The pose of the video itself, where the run was scored by it."""
        key = record.get("key_score_pose")
        if not key:
            return {}
        try:
            poses = decode(self.store.read_part("score", key, "poses").groups["poses"], PoseTrack)
        except (ArtifactMissingError, ArtifactCorruptError, KeyError) as error:
            raise SampleMissingError(LeftOut.ARTIFACT_MISSING, str(error)) from None
        if len(poses) != frames:
            raise SampleMissingError(LeftOut.VIDEO_CHANGED, f"{record['output']}: another score")
        return detected_arrays(poses)

    @staticmethod
    def _frames(delivered: Video) -> bytes:
        folder = delivered.path.with_suffix(".frames")
        paths = sorted(folder.glob("*.png"))
        if len(paths) != delivered.frames:
            raise SampleMissingError(LeftOut.NO_FRAMES, folder.name)
        return pack({path.name: path.read_bytes() for path in paths})


def _field_scale(flow: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels of the video per pixel of the square frame that the flow was computed in."""
    return np.asarray(np.array([width, height], np.float32) / (2 * flow.shape[-1]))


@lru_cache(_KEPT_REFERENCES)
def _reference_png(
    path: str, digest: str, frame: int | None, height: int, width: int, compute: Compute
) -> bytes:
    """The reference as the networks saw it: cut and scaled to the size of the video."""
    try:
        image = read_still(Path(path), frame, compute)
        found = file_digest(Path(path))
    except (OSError, UnitError) as error:
        raise SampleMissingError(LeftOut.REFERENCE_CHANGED, str(error)) from None
    if found != digest:
        raise SampleMissingError(LeftOut.REFERENCE_CHANGED, Path(path).name)
    buffer = io.BytesIO()
    Image.fromarray(cover_resize(image, height, width)).save(buffer, "png")
    return buffer.getvalue()


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A ``.npz`` file whose bytes depend on the arrays alone."""
    members: dict[str, bytes] = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        members[f"{name}.npy"] = buffer.getvalue()
    return pack(members)
