"""A project, a store or weights that were moved have not changed: nothing runs again."""

import json
import os
import shutil

import pytest

from tests.workflow.conftest import REPOSITORY


@pytest.fixture
def project(workspace):
    """A finished run whose configuration speaks of places from the working directory."""
    workspace.config |= {"manifest": "media/pairs.csv"}
    workspace.snakemake()
    workspace.calls()
    return workspace


def moved(project, target):
    """The whole folder, times kept, somewhere else."""
    shutil.move(project.root, target)
    project.root.mkdir()  # later tests find their place
    project.root = target
    return project


@pytest.mark.parametrize("place", ["deeper/below/here", "a b {c}"])
def test_a_moved_project_has_nothing_to_do(project, tmp_path, place):
    """Neither plan nor ledgers nor artifacts look changed, and no path of the old place is left."""
    old = str(project.root)
    target = tmp_path / place
    target.parent.mkdir(parents=True, exist_ok=True)
    project = moved(project, target)
    assert "Nothing to be done" in project.snakemake()
    assert project.calls() == []
    for path in (target / "results/test").rglob("*.json"):
        assert old not in path.read_text(), path
    media = target / "media/a.png"
    media.write_text("another picture")
    assert "correspondence shard" in project.snakemake()
    assert "pose a.png @128" in project.calls()


def test_a_copy_with_new_times_is_only_looked_at(project, tmp_path):
    """As after `cp -r` or a clone: files are probed again, nothing is computed."""
    project = moved(project, tmp_path / "copy")
    for path in (project.root / "media").iterdir():
        os.utime(path, (2_000_000_000, 2_000_000_000))
    project.snakemake()
    assert {call.split()[0] for call in project.calls()} == {"ingest"}
    assert "Nothing to be done" in project.snakemake()


def test_a_moved_store_and_moved_weights_have_nothing_to_do(project):
    """Keys follow content; where it lies is a matter of the configuration."""
    root = project.root
    (root / "store").rename(root / "elsewhere")
    (root / "models/tiny").rename(root / "weights")
    project.config |= {"store": str(root / "elsewhere")}
    project.config |= {"models": {"bundle": "tiny", "root": str(root / "weights")}}
    assert "Nothing to be done" in project.snakemake()
    assert project.calls() == []


def test_media_outside_stay_where_they_are(project, tmp_path):
    """They are known by their whole path, from wherever the project is."""
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.copy(project.root / "media/a.png", outside)
    text = (project.root / "media/pairs.csv").read_text()
    (project.root / "media/pairs.csv").write_text(text.replace("a.png", str(outside / "a.png")))
    project.snakemake()
    project.calls()
    project = moved(project, tmp_path / "moved")
    assert "Nothing to be done" in project.snakemake()
    pairs = json.loads((project.root / "results/test/plan/pairs.json").read_text())["pairs"]
    images = {pair["reference_image"] for pair in pairs}
    assert images == {str(outside / "a.png"), "media/b.png"}


def test_a_moved_checkout_has_nothing_to_do(workspace, tmp_path):
    """With the project inside it, called as its README says."""
    checkout = tmp_path / "checkout"
    shutil.copytree(workspace.root, checkout)
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(REPOSITORY / name, checkout)
    for name in ("workflow", "config", "profiles", "dispose_stages"):
        shutil.copytree(REPOSITORY / name, checkout / name)
    settings = ["manifest=media/pairs.csv", "models=tiny", "run=test"]

    def snakemake():
        command = [
            *(str(workspace.python), "-m", "snakemake", "--profile", "profiles/local"),
            *("--cores", "2", "--scheduler", "greedy", "--config", *settings),
        ]
        return workspace.call(command, cwd=checkout, check=True).stdout

    assert "4 of 4 rows delivered" in snakemake()
    (checkout / "calls.log").unlink()
    checkout = checkout.rename(tmp_path / "elsewhere")
    assert "Nothing to be done" in snakemake()
    assert not (checkout / "calls.log").exists()
