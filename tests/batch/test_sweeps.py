"""Manifests of sweeps: every combination once, under names that people can read."""

import csv

import pytest
from click.testing import CliRunner

from dispose_stages.batch.manifest import read_manifest
from dispose_stages.batch.plan import build_plan
from dispose_stages.batch.sweeps import parse_seeds, parse_sweep
from dispose_stages.cli import cli
from dispose_stages.config import Config, Parameters
from dispose_stages.errors import DisposeError, ManifestError


@pytest.fixture
def folders(tmp_path):
    """Two people and two dances."""
    for name in ("people/anna.png", "people/bo.jpg", "dances/waltz.mp4", "dances/tango slow.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def cross(folder, *arguments):
    output = folder / "m.csv"
    command = [
        "manifest",
        "cross",
        str(folder / "people"),
        str(folder / "dances"),
        "-o",
        str(output),
    ]
    result = CliRunner().invoke(cli, [*command, *arguments])
    if isinstance(result.exception, DisposeError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return output


def test_a_sweep_has_every_combination_once(folders):
    """Two people, two dances, three seeds, two scales; rows that can all run, poses shared."""
    output = cross(folders, "--seeds", "0-2", "--set", "guidance_max=2,2.5")
    manifest = read_manifest(output, Parameters())
    assert manifest.problems == ()
    assert len(manifest.rows) == len({row.pair_id for row in manifest.rows}) == 24
    names = [row.pair_id for row in manifest.rows]
    assert names[:3] == [
        "anna_tango-slow_seed0_guidance_max2",
        "anna_tango-slow_seed0_guidance_max2.5",
        "anna_tango-slow_seed1_guidance_max2",
    ]
    swept = {(row.parameters.seed, row.parameters.guidance_max) for row in manifest.rows}
    assert swept == {(seed, scale) for seed in (0, 1, 2) for scale in (2.0, 2.5)}
    plan = build_plan(Config(), manifest)
    assert {s: len(plan.units[s]) for s in ("pose", "motion", "sample")} == {
        "pose": 4,
        "motion": 4,
        "sample": 24,
    }


def test_without_a_sweep_rows_are_called_after_their_content(folders):
    """The manifest of before: two columns."""
    lines = list(csv.reader(cross(folders).read_text().splitlines()))
    assert lines[0] == ["reference_image", "driving_video"]
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", "3"), ("0-2", "0 1 2"), ("1,5-6,1", "1 5 6"), ("007", "7")]
)
def test_seeds(text, seeds):
    """Single ones and ranges, each once."""
    assert parse_seeds(text) == seeds.split()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "3-1",
        "1-",
        "-2",
        "0-99999999",
        "1.5",
        "²",
        pytest.param("1-" + "9" * 5000, id="digits"),
    ],
)
def test_seeds_that_are_none(text):
    """A typed error says how to write them."""
    with pytest.raises(ManifestError, match="--seeds"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (["guidance_mx=2"], "did you mean `guidance_max`"),
        (["guidance_max"], "expected name=value"),
        (["guidance_max="], "expected name=value"),
        (["guidance_max=2", "guidance_max=3"], "already has values"),
        (["guidance_max=2,high"], "no row can have guidance_max=high"),
        (["tile_size=4", "tile_overlap=2,6"], "tile_overlap must be less"),
    ],
)
def test_sweeps_that_cannot_be(settings, what):
    """Named with the combination that no row can have."""
    with pytest.raises(ManifestError, match=what):
        parse_sweep(None, settings)


def test_two_files_of_one_name_are_told(folders):
    """Rather than to let one row hide another."""
    (folders / "people/Anna.jpg").write_text("another")
    with pytest.raises(ManifestError, match="rename"):
        cross(folders, "--seeds", "1")


def test_names_have_an_end(folders):
    """A name that no file can have is refused."""
    (folders / "people" / f"{'x' * 120}.png").write_text("long")
    with pytest.raises(ManifestError, match="too long"):
        cross(folders, "--seeds", "1")
