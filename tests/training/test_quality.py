"""The small bundle animates: held-out figures follow their drivers (docs/quality.md)."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from dispose_stages.training.animate import Animator
from dispose_stages.training.bundle.small import bundle_size
from dispose_stages.training.judge import (
    OTHERS_EMBEDDING,
    OTHERS_MOTION,
    REFERENCE,
    Judge,
    compare,
)
from dispose_stages.training.quality import (
    VARIANTS,
    HeldOut,
    animate,
    held_out_pairs,
    pipeline_config,
    score,
)
from dispose_stages.training.settings import load_settings
from dispose_stages.weights.verification import verify

# diffusers' scheduler calls NumPy 2 on a tensor, which torch does not support without a warning.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "small"


@pytest.fixture(scope="module")
def animator() -> Animator:
    """The bundle's networks, loaded once, with the pipeline's defaults."""
    settings = load_settings(ROOT / "config" / "train.yaml", bundle=BUNDLE, threads=1)
    return Animator(pipeline_config(settings))


def pairs_of(animator: Animator, count: int, *, cross: bool) -> list[HeldOut]:
    """So many held-out pairs, none of which fails."""
    pairs = held_out_pairs(animator, count, cross=cross)
    assert len(pairs) == count
    return pairs


@pytest.mark.parametrize(("cross", "least"), [(False, 0.80), (True, 0.60)])
def test_the_output_follows_its_driver_and_no_other(
    animator: Animator, cross: bool, least: float
) -> None:
    """PCK@0.1 of the output's own pose, one pair of every motion; clothes keep their colours.

    What another clip's driver gives is far below, and so is, among the keypoints that move, what a
    figure that stays gives (none).
    """
    pairs = pairs_of(animator, 5, cross=cross)
    found = score(animator, pairs, animate(animator, pairs, "full"))
    assert found["PCK@0.1"] >= least
    assert found["shuffled driver"] < found["PCK@0.1"] - 0.4
    assert found["of moved keypoints"] > 0.6
    assert found["colour error"] < 0.7 * found["other's colour"]


def test_a_figure_that_stays_has_no_moved_keypoint_right(animator: Animator) -> None:
    """The control of the control: one's own reference, repeated, passes nothing of what moves."""
    pairs = pairs_of(animator, 2, cross=False)
    still = [np.stack([pair.reference] * len(pair.driver)) for pair in pairs]
    found = score(animator, pairs, still)
    assert found["of moved keypoints"] < 0.1
    assert found["PCK@0.1"] == pytest.approx(found["still reference"], abs=0.02)


def test_every_guidance_reaches_the_pixels(animator: Animator) -> None:
    """Switching one off changes the output."""
    (pair,) = held_out_pairs(animator, 1, cross=False, frames=6)
    outputs = {
        variant: animator.animate(
            pair.reference, pair.motion, pair.features, num_inference_steps=2, **changes
        )
        for variant, changes in VARIANTS.items()
    }
    for one, other in combinations(outputs, 2):
        assert np.any(outputs[one] != outputs[other]), (one, other)


def test_guidance_says_something(tmp_path: Path) -> None:
    """Another's motion and another's embedding are worse inside the figure, under equal noise.

    With the ControlNet off, or deaf to what it is given, there is no difference at all. Twelve
    clips are enough for that; docs/quality.md has 128, and the base beside it.
    """
    settings = load_settings(
        ROOT / "config" / "train.yaml", bundle=BUNDLE, folder=tmp_path, threads=1, judge_clips=12
    )
    networks = Judge(settings)
    errors = networks.errors(networks.clips(), (REFERENCE, OTHERS_EMBEDDING, OTHERS_MOTION))
    found = compare({name: values.mean(axis=1) for name, values in errors.items()})
    assert found[OTHERS_EMBEDDING].low > 1, found
    assert found[OTHERS_MOTION].mean > 0.2, found


@pytest.mark.slow
@pytest.mark.parametrize("cross", [False, True])
def test_guidance_does_not_spoil_the_pose(animator: Animator, cross: bool) -> None:
    """Full DisPose follows the driver nearly as well as the base without a ControlNet."""
    pairs = pairs_of(animator, 10, cross=cross)
    full, base = (score(animator, pairs, animate(animator, pairs, v)) for v in ("full", "base"))
    assert full["PCK@0.1"] >= base["PCK@0.1"] - 0.03


def test_the_bundle_fits_into_the_repository() -> None:
    """At most 40 MB, complete, and it says what it is."""
    assert bundle_size(BUNDLE) <= 40e6
    verify(BUNDLE, None, "small")
