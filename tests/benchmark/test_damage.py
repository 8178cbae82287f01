from __future__ import annotations

from pathlib import Path

import pytest

from dispose_stages.benchmark import damage
from tests.benchmark.documented import part_of, read_tables

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found():
    """All damages on one procedural clip per motion, poses found by the shipped detector."""
    return damage.measure(damage.load_detector(ROOT / "bundles" / "small"))


def test_the_truth_is_perfect(found):
    """Nothing is found where nothing was done."""
    none = found["none"]
    assert none["psnr"] == 100
    assert none["ssim"] == pytest.approx(1)
    assert none["flicker_excess"] == 0
    assert none["drift_colour"] == 0
    assert none["pck_010_body"] > 0.9


def test_every_damage_lowers_the_likeness(found):
    """Whatever it is, PSNR and SSIM see it; another identity most of all."""
    for name, values in found.items():
        if name != "none":
            assert values["psnr"] < 90, name
            assert values["ssim"] < 1, name
    assert min(found, key=lambda name: found[name]["psnr"]) == "another identity"


@pytest.mark.parametrize(
    ("metric", "name", "margin"),
    [
        ("seam_flicker", "seam every 10 frames", 5),
        ("drift_colour", "colour drift", 20),
        ("akd_body", "frozen frames", 1.2),
        ("movement_body", "frozen frames", 2),
    ],
)
def test_a_metric_singles_out_the_damage_it_is_made_for(found, metric, name, margin):
    """By far the largest value of all damages."""
    others = [abs(values[metric]) for other, values in found.items() if other != name]
    assert found[name][metric] > margin * max(others)


def test_frozen_frames_do_not_flicker(found):
    """Less than the truth: warping error alone would call them perfect."""
    frozen = found["frozen frames"]
    assert frozen["flicker_excess"] == min(v["flicker_excess"] for v in found.values()) < 0
    assert frozen["warping_error"] == 0


def test_poses_see_limbs_and_not_looks(found):
    """A wrong limb costs keypoints, blur and another identity do not."""
    right = found["none"]["pck_010_body"]
    assert found["wrong limb"]["pck_010_body"] < right - 0.05
    assert found["frozen frames"]["pck_010_body"] < right - 0.05
    for name in ("blur", "shift by 2 px", "colour drift", "another identity"):
        assert found[name]["pck_010_body"] > right - 0.03, name
        assert found[name]["movement_body"] < 0.75 * found["wrong limb"]["movement_body"], name
    assert found["shift by 2 px"]["akd_body"] > found["none"]["akd_body"]


def test_the_documented_table_agrees(found):
    """docs/benchmark.md names every damage and metric; its values are those of this code."""
    text = (ROOT / "docs" / "benchmark.md").read_text()
    ((_, *metrics), *rows) = read_tables(part_of(text, damage.PART))[0]
    table = {
        name: {m: float(v) for m, v in zip(metrics, values, strict=True)} for name, *values in rows
    }
    assert set(table) == set(damage.DAMAGES)
    for name, values in found.items():
        assert table[name] == pytest.approx(values, rel=0.05, abs=0.01), name
