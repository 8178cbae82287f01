"""Only files that the jobs to come will read are asked for, before the first of them."""

import shutil

import pytest

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.run_files import read_stage_weights
from dispose_stages.errors import StoreError
from dispose_stages.weights import layout
from tests.workflow.conftest import write_manifest

POSE = {layout.DETECTOR, layout.WHOLE_BODY}


@pytest.fixture
def models(workspace):
    """The workspace's checkpoints."""
    return workspace.root / "models/tiny"


def keep_pose_only(models):
    for path in [p for p in models.rglob("*") if p.is_file()]:
        if str(path.relative_to(models)) not in {*POSE, "bundle.json"}:
            path.unlink()


def test_pose_alone_needs_two_files(workspace, models):
    """`--until pose` runs without the diffusion models; what follows names the others."""
    keep_pose_only(models)
    workspace.snakemake("--until", "pose")
    assert {call.split()[0] for call in workspace.calls()} == {"ingest", "pose"}
    run = RunLayout(workspace.root / "results/test")
    assert read_stage_weights(run, "pose") == ""  # as the stand-in writes it
    with pytest.raises(StoreError, match="checkpoint files of sample were missing"):
        read_stage_weights(run, "sample")
    output = workspace.snakemake(check=False)
    assert "checkpoint files are missing or wrong" in output
    assert layout.DISPOSE in output
    assert layout.DETECTOR not in output
    assert workspace.calls() == []


def test_rows_without_correspondence_need_no_features(workspace, models):
    """Ablation rows run without Stable Diffusion; one other row asks for it."""
    shutil.rmtree(models / layout.SD15)
    media = workspace.root / "media"
    column = ["correspondence_guidance"]
    write_manifest(media, ["a.png"], ["x.mp4", "y.mp4"], column, [["false"], ["false"]])
    workspace.snakemake()
    write_manifest(media, ["a.png"], ["x.mp4", "y.mp4"], column, [["false"], ["true"]])
    output = workspace.snakemake(check=False)
    assert layout.SD15 in output
    assert layout.SVD not in output
    assert "dispose weights make-tiny" in output


def test_media_facts_need_no_weights_at_all(workspace, models):
    """Not even the folder."""
    shutil.rmtree(models)
    workspace.snakemake("--until", "ingest")
    assert {call.split()[0] for call in workspace.calls()} == {"ingest"}
