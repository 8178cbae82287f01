"""The small bundle animates: held-out figures follow their drivers (docs/quality.md)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dispose_stages.sample.clip import SamplingParameters
from dispose_stages.training.animate import Animation, Animator
from dispose_stages.training.bundle.small import bundle_size
from dispose_stages.training.measurement import sampling_parameters
from dispose_stages.training.quality import (
    VARIANTS,
    Scores,
    animate,
    held_out_pairs,
    prepare,
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
    """The bundle's networks, loaded once."""
    return Animator(BUNDLE)


@pytest.fixture(scope="module")
def parameters() -> SamplingParameters:
    """As the quality tables were measured."""
    return sampling_parameters(load_settings(ROOT / "config" / "train.yaml"))


def scores(
    animator: Animator,
    parameters: SamplingParameters,
    variants: Sequence[str],
    *,
    pairs: int,
    cross: bool,
) -> dict[str, Scores]:
    """Scores over so many held-out pairs, by variant."""
    prepared = prepare(animator, held_out_pairs(pairs, cross=cross))
    assert len(prepared) == pairs
    return {
        name: score(prepared, animate(animator, prepared, parameters, VARIANTS[name]))
        for name in variants
    }


@pytest.mark.parametrize(("cross", "least"), [(False, 0.80), (True, 0.60)])
def test_the_output_follows_its_driver_and_no_other(
    animator: Animator, parameters: SamplingParameters, cross: bool, least: float
) -> None:
    """PCK@0.1 of the output's own pose, one pair of every motion; clothes keep their colours.

    What another clip's driver gives is far below, and so is, among the keypoints that move, what a
    figure that stays gives (none).
    """
    found = scores(animator, parameters, ["full"], pairs=5, cross=cross)["full"]
    assert found.pck >= least
    assert found.pck_shuffled < found.pck - 0.4
    assert found.pck_moved > 0.6
    assert found.colour < 0.7 * found.colour_shuffled


def test_a_figure_that_stays_has_no_moved_keypoint_right(
    animator: Animator, parameters: SamplingParameters
) -> None:
    """The control of the control: one's own reference, repeated, passes nothing of what moves."""
    prepared = prepare(animator, held_out_pairs(2, cross=False))
    still = []
    for item in prepared:
        frames = np.stack([item.pair.reference] * len(item.pair.driver))
        still.append(Animation(frames, item.motion, animator.poses(list(frames))))
    found = score(prepared, still)
    assert found.pck_moved < 0.1
    assert found.pck == pytest.approx(found.pck_still, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("cross", [False, True])
def test_every_guidance_helps(
    animator: Animator, parameters: SamplingParameters, cross: bool
) -> None:
    """Full DisPose follows the driver as well as its ablations, but for noise."""
    by_name = scores(animator, parameters, list(VARIANTS), pairs=10, cross=cross)
    for ablation in ("no motion", "no correspondence", "base"):
        assert by_name["full"].pck >= by_name[ablation].pck - 0.03


def test_the_bundle_fits_into_the_repository() -> None:
    """At most 40 MB, complete, and it says what it is."""
    assert bundle_size(BUNDLE) <= 40e6
    verify(BUNDLE, None, "small")
