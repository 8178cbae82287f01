"""The shipped pose pair finds procedural figures through the pipeline's own pose code."""

from __future__ import annotations

import csv
import importlib.util
import sys
from importlib import resources
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from dispose_stages.models.whole_body.extraction import PoseNetworks, extract_pose
from dispose_stages.training.bundle.pose_data import draw_frames
from dispose_stages.training.world.scene import RenderedFrame
from tests.training.bundle.pose_quality import measure, open_pair

MANIFESTS = Path(__file__).parents[3] / "manifests"
HELD_OUT = 900_000_000
"""Training seeds are far from here."""


@pytest.fixture(scope="module")
def networks() -> PoseNetworks:
    return open_pair(Path(str(resources.files("dispose_stages.training.bundle") / "data")))


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_demo", MANIFESTS / "make_demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_demo"] = module
    spec.loader.exec_module(module)
    return module


def test_held_out_figures_are_found(networks: PoseNetworks) -> None:
    """Figures never trained on: detection, body, and useful face, feet and hands."""
    frames = [
        frame for seed in range(12) for frame in draw_frames(HELD_OUT + seed, persons=1, whole=True)
    ]
    quality = measure(frames, networks)
    assert quality.detected > 0.95
    assert quality.false < 0.1
    assert quality.pck["body"] > 0.95
    assert quality.pck["face"] > 0.95
    assert quality.pck["hands"] > 0.85
    assert quality.scored["body"] > 0.9


def test_demo_frames_have_one_person_with_a_right_pose(
    networks: PoseNetworks, demo: ModuleType
) -> None:
    """Every sampled frame of the demo media: one person, keypoints where they are."""
    for shot in (*demo.DRIVERS, *demo.REFERENCES):
        scene = shot.scene()
        frames = [scene.render(frame) for frame in range(0, shot.frames, 4)]
        quality = measure(frames, networks)
        assert quality.detected == 1.0, shot.name
        assert quality.false == 0.0, shot.name
        assert quality.pck["body"] > 0.95, shot.name
        assert quality.scored["body"] > 0.9, shot.name


def test_shipped_media_are_what_the_script_renders(demo: ModuleType) -> None:
    """The pictures in the repository come from the script, pixel by pixel."""
    for shot in demo.REFERENCES:
        stored = cv2.imread(str(MANIFESTS / "media" / shot.name))[..., ::-1]
        assert np.array_equal(stored, shot.scene().render(0).image), shot.name


def test_demo_manifest_names_media_that_are_there() -> None:
    """Paths are relative to the manifest; all media together are small."""
    rows = list(csv.DictReader((MANIFESTS / "demo.csv").read_text().splitlines()))
    assert len(rows) >= 3
    for row in rows:
        for column in ("reference_image", "driving_video"):
            assert (MANIFESTS / row[column]).is_file()
    assert sum(path.stat().st_size for path in (MANIFESTS / "media").iterdir()) < 3_000_000


def test_mirrored_figure_swaps_left_and_right(networks: PoseNetworks, demo: ModuleType) -> None:
    """The network tells left from right, it does not only find joints."""
    frame: RenderedFrame = demo.REFERENCES[0].scene().render(0)
    pose = extract_pose(frame.image, networks)
    flipped = extract_pose(np.ascontiguousarray(frame.image[:, ::-1]), networks)
    right_shoulder, left_shoulder = 2, 5
    assert pose.keypoints[0, left_shoulder, 0] > pose.keypoints[0, right_shoulder, 0]
    assert flipped.keypoints[0, left_shoulder, 0] > flipped.keypoints[0, right_shoulder, 0]
