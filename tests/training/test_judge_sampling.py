"""Judging what guidance is worth after a whole sampling."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dispose_stages.artifacts import Frame, PoseTrack
from dispose_stages.sample.clip import ClipInputs
from dispose_stages.training.animate import Animator
from dispose_stages.training.clip_store import ClipStore
from dispose_stages.training.judge_sampling import MEASURES, VARIANTS, score_pairs, table
from dispose_stages.training.settings import Clips

SIZES = Clips(count=8, frames=2, height=192, width=128, first_seed=70, motley=1.0)


class Painter(Animator):
    """Paints the truth, but grey frames where anything is missing or of another clip."""

    def __init__(self, clips: ClipStore, *, shift: int = 0) -> None:
        self.clips, self.shift = clips, shift
        self.painted: list[tuple[int, int | None, int | None]] = []

    def poses(self, images: Any, _fps: float = 0.0) -> PoseTrack:
        points = np.tile(np.linspace(0.2, 0.8, 134)[None, :, None], (1, 1, 2))
        frame = Frame(points, np.ones((1, 134)), np.zeros((1, 4)), np.ones(1))
        return PoseTrack.from_frames([frame] * len(images), [*range(len(images))], 192, 128, 0.0)

    def motion(self, _reference: Any, _driving: PoseTrack) -> Any:
        poses = self.poses([None] * SIZES.frames)
        person = np.zeros(SIZES.frames, dtype=np.int64)
        place = {"scale": (1.0, 1.0), "shift": (0.0, self.shift / 192), "height": 192, "width": 128}
        return SimpleNamespace(poses=poses, person=person, **place), None

    def inputs(self, reference: Any, *_: Any, **__: float) -> dict[str, Any]:
        number = next(n for n, clip in enumerate(self.clips.images) if (clip[0] == reference).all())
        inputs = ClipInputs(
            image=torch.from_numpy(reference.copy()).permute(2, 0, 1),
            frames=SIZES.frames,
            rasters=lambda _: number,
            fields=lambda _: number,
            points=torch.zeros((SIZES.frames, 18, 2), dtype=torch.float64),
            visible=torch.ones((SIZES.frames, 18), dtype=torch.bool),
            correspondence=torch.full((18, 1), float(number)),
        )
        return {"inputs": inputs, "params": None}

    def frames(self, inputs: ClipInputs, params: Any) -> Any:
        of: Any = [inputs.rasters, inputs.fields]
        own, motion = (call(slice(1)) if call else None for call in of)
        points = None if inputs.correspondence is None else int(inputs.correspondence[0, 0])
        self.painted.append((own, motion, points))
        truth = np.roll(self.clips.images[own, 1:], self.shift, axis=1)
        return truth if own == motion == points else np.full_like(truth, 128)


@pytest.fixture
def clips(tmp_path: Path) -> ClipStore:
    """A few rendered clips."""
    store = ClipStore.create(tmp_path, SIZES)
    store.fill()
    return store


def test_every_variant_changes_what_it_says(clips: ClipStore) -> None:
    """Motion or features are another pair's or nobody's; poses stay; full is given its own."""
    painter = Painter(clips)
    scores = score_pairs(painter, clips)
    assert painter.painted[:6] == [(0, *given) for given in ((0, 0), (1, 0), (0, 1))] + [
        (0, *given) for given in ((None, 0), (0, None), (None, None))
    ]
    assert painter.painted[3 * 6 + 1] == (3, 0, 3)
    assert painter.painted[4 * 6 + 1] == (4, 5, 4)
    assert scores.shape == (8, len(VARIANTS), len(MEASURES))
    full, others = scores[:, 0], scores[:, 1:]
    assert np.all(full[:, 0] == 100)
    assert np.nanmax(full[:, 1:3]) == 0
    assert np.all(full[:, 3] == 1)
    assert np.all(others[..., 0] < 40)
    assert np.nanmin(others[..., 1:3]) > 0.02


def test_the_truth_is_moved_as_the_poses_were(clips: ClipStore) -> None:
    """An output that stands where the alignment puts the driver has no error."""
    full = score_pairs(Painter(clips, shift=4), clips)[:, 0]
    assert np.all(full[:, 0] == 100)
    assert np.nanmax(full[:, 1:3]) == 0


def test_judging_goes_on_where_it_stopped(clips: ClipStore) -> None:
    """What was judged is read, not computed again; an interrupted judging does the rest."""
    first, again = Painter(clips), Painter(clips)
    scores = score_pairs(first, clips)
    (clips.folder / "scores_count").write_text("4")
    assert np.array_equal(score_pairs(again, clips), scores, equal_nan=True)
    assert {own for own, _, _ in again.painted} == {4, 5, 6, 7}


def test_differences_are_paired_and_count_the_pairs_that_have_one() -> None:
    """What is the same in all variants of a pair widens no interval."""
    rng = np.random.default_rng(0)
    scores = np.repeat(rng.uniform(10, 30, (40, 1, len(MEASURES))), len(VARIANTS), axis=1)
    scores[:, 1] += 0.5
    scores[:10, :, 2] = np.nan
    head, _, full, motion, embedding = table(scores).splitlines()[:5]
    assert "where limbs cross (30 pairs)" in head
    assert "PCK@0.1 (40 pairs)" in head
    assert full.startswith("| full | ")
    assert motion == "| another clip's motion |" + " +0.500 [+0.500, +0.500] |" * 4
    assert embedding == "| another's embedding |" + " +0.000 [+0.000, +0.000] |" * 4
