"""The project that `dispose init` writes."""

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from dispose_stages.batch.folders import cross_product
from dispose_stages.batch.manifest import read_manifest
from dispose_stages.batch.prepare import prepare_run
from dispose_stages.cli import cli
from dispose_stages.config import Config, load_config
from dispose_stages.config_text import read_config_file
from dispose_stages.errors import ManifestError

MEDIA = Path(__file__).parents[2] / "manifests/media"


def init(folder):
    done = CliRunner().invoke(cli, ["init", str(folder)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_the_next_command_can_be_copied(tmp_path):
    """Also where the folder's name has a space in it."""
    assert f"next: cd '{tmp_path}/my films'; fill" in init(tmp_path / "my films")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A fresh one, as the working directory."""
    init(tmp_path / "my films")
    monkeypatch.chdir(tmp_path / "my films")
    return tmp_path / "my films"


def test_the_configuration_is_five_keys_that_hold(project):
    """Everything else has its default; the run is called after the folder."""
    values = read_config_file(Path("config/config.yaml"))
    assert sorted(values) == ["manifest", "models", "parameters", "run", "store"]
    config = load_config(values)
    assert config.run == "my-films"
    assert config.models.bundle == "official"
    assert config.parameters == Config().parameters


def test_an_empty_manifest_says_so_and_a_filled_one_is_planned(project):
    """The header is what `manifest cross` writes too."""
    values = read_config_file(Path("config/config.yaml"))
    with pytest.raises(ManifestError, match="has no rows"):
        prepare_run(values)
    shutil.copytree(MEDIA, project / "media")
    text = cross_product(project / "media", project / "media", project)
    assert text.startswith(Path("manifest.csv").read_text())
    Path("manifest.csv").write_text(text)
    assert prepare_run(values).summary.pairs == len(
        read_manifest(Path("manifest.csv"), Config().parameters).rows
    )


def test_what_is_there_is_left_alone(project):
    """A second call overwrites nothing."""
    Path("manifest.csv").write_text("mine")
    Path(".gitignore").unlink()
    output = init(project)
    assert "manifest.csv: is there" in output
    assert ".gitignore: written" in output
    assert Path("manifest.csv").read_text() == "mine"


def test_results_stay_out_of_git(project):
    """Of all that a run makes nothing is proposed for a commit; of the project everything is."""
    for name in ("results/r/videos/a.mp4", "store/pose/x.zip", "models/m.pth", ".snakemake/log"):
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    subprocess.run(["git", "init", "-q"], check=True)
    status = ["git", "status", "--porcelain", "--untracked-files=all"]
    listed = subprocess.run(status, check=True, capture_output=True, text=True).stdout
    files = {line.removeprefix("?? ") for line in listed.splitlines()}
    assert files == {
        ".gitignore", "config/config.yaml", "manifest.csv", "profiles/slurm/config.yaml",
    }  # fmt: skip
