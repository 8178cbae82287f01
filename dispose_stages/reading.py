"""A finished (or half finished) run as Python sees it; free of torch.

>>> import dispose_stages
>>> run = dispose_stages.open_run("results/demo")
>>> list(run)[:3]
['blue_dances', 'green_waves', 'blue_waves']
>>> pair = run["blue_dances"]
>>> pair.status
<PairStatus.DELIVERED: 'delivered'>
>>> pair.motion.tracks.shape  # frames (the reference first), body keypoints, (x, y)
(5, 18, 2)
>>> pair.field(0).shape  # (dx, dy), height, width
(2, 192, 128)
>>> next(pair.frames()).shape  # height, width, RGB
(192, 128, 3)

Everything is read when it is asked for, checked against its digest, and not kept. Points are
``(x, y)`` and fields ``(dx, dy)``; units stand with each property.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8

from dispose_stages.artifacts import Correspondence, Latents, MotionField, PoseTrack
from dispose_stages.batch.index import index_records
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.manifest import Row
from dispose_stages.batch.outcomes import Outcome, PairStatus, RunOutcomes
from dispose_stages.batch.run_files import read_run_config
from dispose_stages.batch.scores import score_columns
from dispose_stages.batch.unit import Result, Status, stage_of
from dispose_stages.config import Config
from dispose_stages.errors import ArtifactMissingError
from dispose_stages.geometry.colour_wheel import add_legend, flow_colours, flow_limit
from dispose_stages.geometry.dense_field import dense_field_array
from dispose_stages.geometry.drawing import draw_pose
from dispose_stages.geometry.frames import cover_resize
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.media import read_still
from dispose_stages.store.shelf import Video, VideoShelf
from dispose_stages.store.video import VideoReader
from dispose_stages.wording import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
Picture = UInt8[np.ndarray, "height width 3"]
Drawing = Literal["reference", "pose", "field", "result"]


def open_run(folder: str | Path, *, base: str | Path | None = None) -> Run:
    """Open a run.

    Args:
        folder: ``<results>/<run>``.
        base: Folder in which `dispose run` was called, which the run's relative paths start from.
            None: where `folder` lies as the run's configuration names it, else the working folder.

    Raises:
        StoreError: There is no run.
    """
    layout = RunLayout(Path(folder))
    config = read_run_config(layout)
    return Run(layout, config, _base(layout, config) if base is None else Path(base))


def _base(layout: RunLayout, config: Config) -> Path:
    inside = config.run_dir.parts
    root = layout.root.resolve()
    if config.run_dir.is_absolute() or root.parts[-len(inside) :] != inside:
        return Path()
    return Path(*root.parts[: -len(inside)])


class Run:
    """A run; maps ids to `Pair`, in order of the manifest.

    Args:
        config: It was planned with.
        base: Folder that its relative paths start from.
    """

    def __init__(self, layout: RunLayout, config: Config, base: Path) -> None:
        self.layout = layout
        self.config = config
        self.base = base

    @cached_property
    def outcomes(self) -> RunOutcomes:
        """How everything stands, as the ledgers said when it was first asked."""
        return RunOutcomes.read(self.layout.root)

    @cached_property
    def store(self) -> ArtifactStore:
        """Artifacts of all stages."""
        return ArtifactStore(self.base / self.config.store)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """A line per pair: status, reason, sources, parameters, keys, facts and scores.

        The columns of ``index.parquet`` (docs/data-format.md), as the ledgers are now.

        >>> from dispose_stages import open_run
        >>> open_run("results/demo").pairs.loc["blue_waves", ["status", "frames", "seed"]].tolist()
        ['delivered', 4, 7]
        """
        import pandas as pd

        return pd.DataFrame(list(index_records(self.outcomes))).set_index("pair_id")

    @cached_property
    def _rows(self) -> dict[str, Row]:
        return {row.pair_id: row for row in self.outcomes.pairs}

    def __getitem__(self, pair_id: str) -> Pair:
        if pair_id not in self._rows:
            near = did_you_mean(pair_id, self._rows)
            raise KeyError(f"{self.layout.root} has no pair {pair_id!r}{near}")
        return Pair(self, self._rows[pair_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"<{self.layout.root}: {self.outcomes.counts()}>"


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair of a run.

    Attributes:
        run: It belongs to.
        row: Its row of the manifest: sources, parameters, other cells.
    """

    run: Run
    row: Row

    @property
    def outcome(self) -> Outcome:
        """How it stands; if it failed, in which stage, for which reason, with one line."""
        return self.run.outcomes.pair_outcome(self.row)

    @property
    def status(self) -> PairStatus:
        """Delivered, failed or pending."""
        return self.outcome.status

    @property
    def reference_pose(self) -> PoseTrack:
        """Keypoints of all persons in the reference, one frame.

        ``keypoints`` (persons, 134, 2), normalised by the reference at target size; ``scores``
        (persons, 134).
        """
        return self._read("pose_image", PoseTrack)

    @property
    def pose(self) -> PoseTrack:
        """Keypoints of all persons in the driving frames that were used, before alignment.

        ``keypoints`` (n, 134, 2), normalised by the driver's size, for the persons of all frames
        one after the other; ``pose[frame]`` gives those of one frame.

        >>> from dispose_stages import open_run
        >>> pose = open_run("results/demo")["blue_dances"].pose
        >>> len(pose), pose[0].keypoints.shape
        (4, (1, 134, 2))
        """
        return self._read("pose_video", PoseTrack)

    @property
    def motion(self) -> MotionField:
        """What drives the pair: aligned poses, the reference's first, and the stored field.

        ``tracks`` (frames, 18, 2) are the driving person's body keypoints in pixels of the target,
        nan where they are hidden.
        """
        return self._read("motion", MotionField)

    @property
    def correspondence(self) -> Correspondence:
        """Diffusion features (18, channels) at the reference's body keypoints."""
        return self._read("correspondence", Correspondence)

    @property
    def latents(self) -> Float32[np.ndarray, "f 4 h w"]:
        """Denoised latents, the reference's frame first, in the VAE's scaled space.

        >>> from dispose_stages import open_run
        >>> open_run("results/demo")["blue_dances"].latents.shape
        (5, 4, 24, 16)
        """
        return self._read("sample", Latents).latents

    @property
    def scores(self) -> dict[str, float]:
        """Metric to its value, where the run was scored."""
        columns = score_columns(self.run.outcomes, self.row)
        return {name.removeprefix("score_"): value for name, value in columns.items()}

    @property
    def video(self) -> Video:
        """The delivered file and what its sidecar says.

        Raises:
            ArtifactMissingError: The pair was not delivered, or the file is gone.
        """
        result = self._result("mux")
        found = VideoShelf(self.run.layout.videos).find(self.row.pair_id, result.key)
        if found is None:
            raise ArtifactMissingError(f"the video of {self.row.pair_id} is gone; run again")
        return found

    def frames(self) -> Iterator[Picture]:
        """The delivered video's frames, decoded one after the other."""
        with VideoReader(self.video.path) as reader:
            for _, frame in reader.frames(range(reader.frame_count)):
                yield frame

    def field(self, frame: int) -> Float32[np.ndarray, "2 height width"]:
        """Dense motion ``(dx, dy)`` from the reference to a driving frame, pixels of the target.

        Args:
            frame: From 0; the video's frames.
        """
        motion = self.motion
        return dense_field_array(motion.cmp_flow[frame], motion.height, motion.width)

    def draw(self, what: Drawing, frame: int = 0) -> Picture:
        """A picture.

        Args:
            what: ``reference`` at target size; ``pose`` as PoseNet sees it, aligned; ``field`` in
                colours, with its wheel; ``result``.
            frame: Of the video, from 0.

        >>> from dispose_stages import open_run
        >>> open_run("results/demo")["blue_dances"].draw("pose", 2).shape
        (192, 128, 3)
        """
        if what == "reference":
            return self._reference()
        if what == "result":
            return self._frame(frame)
        if what == "field":
            field = self.field(frame)
            limit = flow_limit(field)
            return add_legend(flow_colours(field, limit), limit)
        if what == "pose":
            motion = self.motion
            drawn = draw_pose(motion.poses[frame + 1], motion.height, motion.width)
            return np.ascontiguousarray(drawn.transpose(1, 2, 0))
        raise ValueError(f"there is no drawing {what!r}{did_you_mean(what, Drawing.__args__)}")

    def _reference(self) -> Picture:
        motion = self.motion
        path = self.run.base / self.row.reference_image
        return cover_resize(read_still(path, self.row.reference_frame), motion.height, motion.width)

    def _frame(self, frame: int) -> Picture:
        with VideoReader(self.video.path) as reader:
            index = range(reader.frame_count)[frame]
            return next(picture for _, picture in reader.frames([index]))

    def _result(self, role: str) -> Result:
        """What came of one of its units.

        Raises:
            ArtifactMissingError: Nothing came of it; says why.
        """
        result = self.run.outcomes.result(self.row, role)
        if result is not None and result.status is Status.DONE:
            return result
        what = f"{self.row.pair_id} has no result of {role}"
        if role not in self.row.units:
            raise ArtifactMissingError(f"{what}: its parameters do without it")
        if result is None or result.status is Status.PENDING:
            raise ArtifactMissingError(f"{what} yet")
        raise ArtifactMissingError(f"{what}: {result.reason}: {result.message}")

    def _read(self, role: str, kind: type[T]) -> T:
        return self.run.store.read(stage_of(role), self._result(role).key, kind)
