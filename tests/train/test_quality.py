"""The small bundle animates: held-out figures follow their drivers (docs/quality.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispose_stages.sample.clip import SamplingParameters
from dispose_stages.train.animate import Animator, Guidance
from dispose_stages.train.measurement import sampling_parameters
from dispose_stages.train.quality import VARIANTS, Scores, animate_pairs, held_out_pairs, score
from dispose_stages.train.settings import load_settings

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "small"

pytestmark = pytest.mark.skipif(
    not (BUNDLE / "bundle.json").exists(), reason="the small bundle is not in this checkout"
)


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
    guidance: Guidance,
    *,
    pairs: int,
    cross: bool,
) -> Scores:
    """Scores over so many held-out pairs."""
    chosen = held_out_pairs(pairs, cross=cross)
    return score(chosen, animate_pairs(animator, chosen, parameters, guidance))


@pytest.mark.parametrize(("cross", "least"), [(False, 0.80), (True, 0.60)])
def test_the_output_follows_its_driver_and_no_other(
    animator: Animator, parameters: SamplingParameters, cross: bool, least: float
) -> None:
    """PCK@0.1 of the output's own pose, far above what another clip's driver gives."""
    found = scores(animator, parameters, Guidance(), pairs=3, cross=cross)
    assert found.pck >= least
    assert found.pck_shuffled < found.pck - 0.3
    assert found.pck_still < found.pck


def test_the_figure_keeps_its_colours(animator: Animator, parameters: SamplingParameters) -> None:
    """Clothes are nearer to the own reference than to another's."""
    found = scores(animator, parameters, Guidance(), pairs=3, cross=True)
    assert found.colour < 0.7 * found.colour_shuffled


@pytest.mark.slow
@pytest.mark.parametrize("cross", [False, True])
def test_every_guidance_helps(
    animator: Animator, parameters: SamplingParameters, cross: bool
) -> None:
    """Full DisPose follows the driver as well as its ablations, but for noise."""
    by_name = {
        name: scores(animator, parameters, guidance, pairs=12, cross=cross)
        for name, guidance in VARIANTS.items()
    }
    assert by_name["full"].pck >= (0.60 if cross else 0.80)
    for ablation in ("no motion", "no correspondence", "base"):
        assert by_name["full"].pck >= by_name[ablation].pck - 0.03
