from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dispose_stages.config import load_config
from dispose_stages.training.animate import Animator
from dispose_stages.training.quality import held_out_pairs
from tests.bench.tiles import __main__ as command
from tests.bench.tiles.__main__ import MEASURES, interval, measure, table

FRAMES = 9


@pytest.fixture(scope="module")
def animator() -> Animator:
    parameters = {"num_inference_steps": 1}
    return Animator(load_config({"compute": {"device": "cpu"}, "parameters": parameters}))


def test_what_is_measured_tells_seams_and_drift_from_the_truth(animator: Animator) -> None:
    """The driver itself has none; one that jumps with the tiles and one that fades have."""
    (pair,) = held_out_pairs(animator, 1, cross=False, frames=FRAMES)
    itself = measure(animator, pair, pair.driver)
    assert itself["PSNR dB"] == 100
    assert itself["PCK@0.1"] > 0.8
    assert all(itself[name] == 0 for name in MEASURES if name.startswith(("drift", "flicker")))
    brighter = np.zeros((FRAMES, 1, 1, 1), dtype=np.int64)
    brighter[5:] = 40  # the second tile begins with frame 5 of the clip, the reference included
    jumping = measure(animator, pair, np.clip(pair.driver + brighter, 0, 255).astype(np.uint8))
    assert jumping["seam of tiles"] > 0.01
    fading = np.linspace(1, 0.5, FRAMES)[:, None, None, None]
    faded = measure(animator, pair, (pair.driver * fading).astype(np.uint8))
    assert faded["drift of colour"] > 1
    assert abs(faded["seam of tiles"]) < 0.01


def test_intervals_are_of_videos() -> None:
    """They hold the mean, and two videos have none."""
    low, high = interval([1.0, 2.0, 3.0, 4.0]) or (0, 0)
    assert 1 < low < 2.5 < high < 4
    assert interval([1.0, 2.0]) is None
    row = dict.fromkeys(MEASURES, 0.5)
    lines = table({"50": [row] * 3, "1000": [row]}).splitlines()
    assert lines[2].startswith("| 50 | 3 | 0.50 [0.50, 0.50] |")
    assert lines[3].startswith("| 1,000 | 1 | 0.50 | 0.500 |")


def test_the_command_writes_its_table(
    animator: Animator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A length that the file of figures has is not measured again."""
    monkeypatch.setattr(command, "Animator", lambda _: animator)
    monkeypatch.setattr(command, "LENGTHS", {FRAMES: 1, 12: 1})
    known = tmp_path / "figures.json"
    known.write_text(json.dumps({"12": [dict.fromkeys(MEASURES, 1.0)]}))
    (tmp_path / "quality.md").write_text("<!-- tiles: begin -->\n<!-- tiles: end -->\n")
    command.main(["--json", str(known), "--write", str(tmp_path)])
    measured = json.loads(known.read_text())
    assert measured[str(FRAMES)][0]["PSNR dB"] > 5
    assert "| 12 | 1 | 1.00 |" in (tmp_path / "quality.md").read_text()
