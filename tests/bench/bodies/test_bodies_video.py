from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dispose_stages.artifacts import BODY_KEYPOINTS
from dispose_stages.geometry.frames import cover_resize
from dispose_stages.training.animate import Animator
from tests.bench.bodies import video
from tests.bench.bodies.observing import DETECTORS, observe
from tests.bench.bodies.pairs import CELLS, FRAMES, make_pair

SEED = 77


def test_the_truth_is_like_itself_wherever_it_is_moved() -> None:
    """A constant offset costs nothing, another one does."""
    pair = make_pair(SEED, CELLS["unlike, standing"])
    frames = range(0, FRAMES, video._EVERY)
    clip = np.stack([cover_resize(pair.painted.render(f).image, *video._TARGET) for f in frames])
    assert video._likeness(clip, pair, np.zeros(2)) == 100
    moved = np.roll(clip, 3, axis=2)
    # One column more or less at the picture's side.
    assert video._likeness(moved, pair, np.array([3.0, 0.0])) > 90
    assert video._likeness(moved, pair, np.zeros(2)) < 25


def test_true_poses_lie_on_the_truth() -> None:
    """Of a body that is its own driver, but for where it stands."""
    pair = make_pair(SEED, CELLS["same"])
    seen = observe(pair, DETECTORS["exact"], SEED)
    still, driving = video._true_poses(seen)
    painted = pair.scenes[0].keypoints(0)[0]
    nose = (painted[0, :2] * video._SCALE - video._CROP) / video._TARGET[::-1]
    assert still[0].keypoints[0, 0] == pytest.approx(nose, abs=1e-6)
    assert len(driving) == FRAMES / video._EVERY
    assert (driving.height, driving.width) == pair.scenes[1].background.shape[:2]
    away = video._away(
        seen.truth[:1, BODY_KEYPOINTS], seen.truth[:1, BODY_KEYPOINTS] + 5, np.ones((1, 18), bool)
    )
    assert away == pytest.approx(0)


def test_the_command_keeps_pairs_and_writes_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pair that is known is not made again; one that is refused counts as none."""
    whole = video.load_config
    steps = {"num_inference_steps": 1}
    monkeypatch.setattr(
        video,
        "load_config",
        lambda settings: whole(settings | {"parameters": settings["parameters"] | steps}),
    )
    made: list[int] = []
    monkeypatch.setattr(video, "Animator", lambda config: made.append(1) or Animator(config))
    cell, first = "unlike, standing", video._FIRST
    kept = tmp_path / "kept.jsonl"
    known = [["exact", cell, first, [[0.5, 10.0], [0.25, 12.0]]], ["exact", cell, first + 1, None]]
    kept.write_text("".join(json.dumps(line) + "\n" for line in known))
    (tmp_path / "bodies.md").write_text("<!-- video: begin -->\n<!-- video: end -->\n")
    chosen = ["--cell", cell, "--poses", "exact", "--kept", str(kept), "--write", str(tmp_path)]
    video.main(["--pairs", "2", *chosen])
    row = (tmp_path / "bodies.md").read_text().splitlines()[3]
    assert row.startswith(
        f"| exact, {cell} | 1 of 2 | 0.500 | 0.250 | 0.50 [0.50, 0.50] | 10.00 | 12.00 | +2.00 "
    )
    video.main(["--pairs", "3", *chosen])
    _, _, _, values = json.loads(kept.read_text().splitlines()[2])
    assert len(made) == 4
    if values is not None:
        assert np.isfinite(values).all()
        assert np.shape(values) == (2, 2)
