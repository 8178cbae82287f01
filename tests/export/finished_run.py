"""A finished run without networks: media, artifacts, videos and the index that belong together."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from dispose_stages.artifacts import Frame, MotionField, PoseTrack
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.manifest import Row
from dispose_stages.batch.run_files import pairs_text
from dispose_stages.config import Config, Parameters
from dispose_stages.geometry.dense_field import to_fixed_point
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.files import file_digest
from dispose_stages.store.shelf import Video, VideoShelf
from tests.store.clips import write_clip

HEIGHT, WIDTH, FRAMES, FPS = 64, 96, 5, 15.0
LICENCE = {"licence": "cc-by-4.0", "consent": "signed", "source_url": "https://example.org/a"}


def key_of(*parts: object) -> str:
    """A key that depends on its parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:40]


@dataclass
class FinishedRun:
    """A run below a folder; `write` makes its index say what `records` say."""

    root: Path
    run: str = "first"
    records: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config = Config(
            run=self.run, store=str(self.root / "store"), results=str(self.root / "results")
        )
        self.layout = RunLayout(self.config.run_dir)
        self.store = ArtifactStore(self.root / "store")
        self.shelf = VideoShelf(self.layout.videos)
        self.layout.config.parent.mkdir(parents=True, exist_ok=True)
        self.layout.config.write_text(self.config.model_dump_json())
        self.media = self.root / "media"
        self.media.mkdir(exist_ok=True)

    @property
    def run_dir(self) -> Path:
        return self.layout.root

    def image(self, number: int) -> Path:
        path = self.media / f"person{number}.png"
        if not path.exists():
            pixels = np.random.default_rng(number).integers(0, 255, (80, 70, 3), np.uint8)
            Image.fromarray(pixels).save(path)
        return path

    def video(self, number: int) -> Path:
        path = self.media / f"dance{number}.mp4"
        if not path.exists():
            write_clip(path, 6 + number)
        return path

    def artifact(
        self, stage: str, artifact: object, upstream: dict[str, Any], *parts: object
    ) -> str:
        key = key_of(stage, *parts)
        if self.store.digest(stage, key) is None:
            self.store.write(stage, key, artifact, {"upstream": upstream})
        return key

    def add(self, image: int, video: int, pair_id: str = "", /, **columns: Any) -> dict[str, Any]:
        """A delivered pair; columns are the manifest's own, or replace what the index says."""
        pair_id = pair_id or f"p{image}_{video}"
        paths = {"image": self.image(image), "video": self.video(video)}
        digests = {kind: file_digest(path) for kind, path in paths.items()}
        media = {
            kind: {"media": {"stage": "ingest", "key": digest, "digest": digest}}
            for kind, digest in digests.items()
        }
        poses = {
            kind: self.artifact(
                "pose", track(1 if kind == "image" else FRAMES), source, digests[kind]
            )
            for kind, source in media.items()
        }
        upstream = {
            "reference_pose": {"stage": "pose", "key": poses["image"], "digest": "d"},
            "driving_pose": {"stage": "pose", "key": poses["video"], "digest": "d"},
        }
        motion = self.artifact("motion", motion_field(image + video), upstream, image, video)
        mux = key_of("mux", pair_id)
        staged = self.shelf.staging(pair_id, mux, ".mp4")
        write_clip(staged, FRAMES)
        made = {"upstream": {"motion": {"stage": "motion", "key": motion, "digest": "d"}}}
        delivered = self.shelf.commit(pair_id, mux, Video(staged, FRAMES, HEIGHT, WIDTH, FPS), made)
        record = {
            "pair_id": pair_id,
            "line": len(self.records) + 2,
            "status": "delivered",
            "reference_image": str(paths["image"]),
            "reference_digest": digests["image"],
            "driving_video": str(paths["video"]),
            "driver_digest": digests["video"],
            "output": f"videos/{pair_id}.mp4",
            "video_digest": delivered.digest,
            "size_bytes": delivered.size_bytes,
            "frames": FRAMES,
            "width": WIDTH,
            "height": HEIGHT,
            "fps": FPS,
            "duration": FRAMES / FPS,
            **dict.fromkeys(("failed_stage", "reason", "message")),
            "code_revision": "dispose-stages 0.1.0: mux 2",
            "weights_sample": "w" * 64,
            "parameter_seed": 42,
            "parameter_max_frames": None,
            "parameter_motion_guidance": True,
            "key_pose_image": poses["image"],
            "key_pose_video": poses["video"],
            "key_motion": motion,
            "key_mux": mux,
            "path_motion": str(self.store.path("motion", motion).relative_to(self.store.root)),
            "seconds_mux": 0.25,
            **columns,
        }
        self.records.append(record)
        return record

    def fail(self, pair_id: str) -> None:
        """A pair without a video."""
        gone = dict.fromkeys(("output", "video_digest", "size_bytes", "frames", "duration"))
        said = {"status": "failed", "failed_stage": "motion", "reason": "person_lost"}
        last = self.records[-1]
        self.records.append({**last, **gone, **said, "pair_id": pair_id})

    def write(self) -> Path:
        """Write the index and the plan's pairs; returns the run's folder."""
        names = dict.fromkeys(name for record in self.records for name in record)
        rows = [{name: record.get(name) for name in names} for record in self.records]
        table = pa.Table.from_pylist(rows)
        nulls = {"parameter_max_frames": pa.int64()}
        schema = pa.schema(
            [
                (f.name, nulls.get(f.name, pa.string()) if pa.types.is_null(f.type) else f.type)
                for f in table.schema
            ],
            metadata={"format": "dispose-index", "format_version": "2"},
        )
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), self.layout.index)
        planned = (
            Row(line, row["pair_id"], row["reference_image"], row["driving_video"], Parameters())
            for line, row in enumerate(rows, start=2)
        )
        self.layout.pairs.write_text("".join(pairs_text(planned)))
        return self.run_dir


def crossed(root: Path, images: int, videos: int, **columns: Any) -> FinishedRun:
    """Every image with every video, licensed."""
    run = FinishedRun(root)
    for image, video in itertools.product(range(images), range(videos)):
        run.add(image, video, **{**LICENCE, "caption": f"person {image}, dance {video}", **columns})
    run.write()
    return run


def track(frames: int) -> PoseTrack:
    """One person in every frame, keypoint k of frame f at (k, f), normalised."""
    found = []
    for index in range(frames):
        points = np.stack([np.arange(134) / 134, np.full(134, index / 10)], axis=-1)[None]
        found.append(Frame(points, np.full((1, 134), 0.9), np.zeros((1, 4)), np.ones(1)))
    return PoseTrack.from_frames(found, [2 * i for i in range(frames)], HEIGHT, WIDTH, 30.0)


def motion_field(number: int) -> MotionField:
    """The person is lost in the last frame."""
    flow = np.zeros((FRAMES, 2, 192, 192), np.float32)
    flow[:, 0] = 1 + number
    person = np.zeros(FRAMES + 1, int)
    person[-1] = -1
    size = (HEIGHT, WIDTH, (1.0, 1.0), (0.0, 0.0), 0.0)
    return MotionField(track(FRAMES + 1), person, to_fixed_point(flow), *size)
