"""Names that Snakemake, shells and formats read something into, through the whole workflow."""

import json
import shutil
from collections import Counter

import pytest

from tests.workflow.test_rules import without_mux

NAMES = ["m {y}", "{params.work} {{x}}", """it's "q" 100% [a], é$HOME `b`;c"""]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_works_whatever_its_files_are_called(workspace, name):
    """Manifest, media, results and store with braces, quotes, commas, percent signs and spaces."""
    media = workspace.root / f"media {name}"
    shutil.copytree(workspace.root / "media", media)
    for path in (media / "a.png", media / "x.mp4"):
        path.rename(path.with_stem(f"{path.stem} {name}"))
    manifest = media / f"{name}.csv"
    quoted = name.replace('"', '""')
    manifest.write_text(
        "reference_image,driving_video\n"
        f'"a {quoted}.png","x {quoted}.mp4"\nb.png,"x {quoted}.mp4"\n'
    )
    workspace.config |= {
        "manifest": str(manifest.relative_to(workspace.root)),
        "results": f"results {name}",
        "store": f"store {name}",
    }
    planned = workspace.snakemake("-n")
    assert f"2 pairs of {workspace.config['manifest']} are through" in planned
    assert "2 of 2 rows delivered" in workspace.snakemake()
    run = workspace.root / f"results {name}" / "test"
    assert len(list((run / "videos").glob("*.mp4"))) == 2
    assert (run / "report.html").exists()
    assert {path.name for path in run.glob("logs/*")} >= {"pose", "mux", "report.log"}
    stages = Counter(call.split()[0] for call in without_mux(workspace.calls()))
    assert stages == {"ingest": 3, "pose": 3, "motion": 2, "correspondence": 2, "sample": 2}
    assert "Nothing to be done" in workspace.snakemake()


@pytest.mark.parametrize("name", ["007", "1.50", "2024-01-01"])
def test_a_run_may_be_called_like_a_number_or_a_date(workspace, name):
    """In a file and with `--config`, the name is what stands there."""
    (workspace.root / "named.yaml").write_text(f"run: {name}\n")
    workspace.snakemake("--configfile", "config.yaml", "named.yaml", "--until", "weights")
    assert (workspace.root / "results" / name / "ledger/weights.json").exists()
    shutil.rmtree(workspace.root / "results")
    workspace.snakemake("--config", f"run={name}", "--until", "weights")
    assert (workspace.root / "results" / name / "ledger/weights.json").exists()


def test_jobs_of_a_cluster_read_the_settled_configuration(workspace):
    """A job's command names the plan's configuration alone, and runs by it."""
    workspace.config["results"] = "res {y}"
    workspace.snakemake("--config", "run=007", "parameters={fps: 12}", "--until", "weights")
    config = workspace.root / "res {y}/007/plan/config.json"
    assert json.loads(config.read_text())["parameters"]["fps"] == 12
    job = [
        *("--target-jobs", "ingest:shard=0-of-1"),
        *("--mode", "remote", "--executor", "local", "--force", "--nolock", "--no-hooks"),
        *("--configfile", config),
    ]
    output = workspace.snakemake(*job)
    assert "ingest shard 0-of-1: 4 media files" in output
    assert len(workspace.calls()) == 4
