"""A finished run of the tiny bundle: real networks, no Snakemake, half a minute."""

import contextlib
import shutil
from pathlib import Path

from dispose_stages.batch.failures import write_failures, write_rejects
from dispose_stages.batch.index import write_index
from dispose_stages.batch.job import perform_shard
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.scores import write_scores
from dispose_stages.config import STAGES
from dispose_stages.training.bundle.tiny import make_tiny
from tests.toy_run import plan_run

REPOSITORY = Path(__file__).parents[1]
COLUMNS = "licence,consent,source_url"
ROWS = tuple(
    f"{pair},cc0,made up,https://example.org"
    for pair in (
        "blue_dances,media/reference_blue.png,media/driver_dance.mp4",
        "green_waves,media/reference_green.png,media/driver_wave.mp4",
        "blue_waves,media/reference_blue.png,media/driver_wave.mp4",
        "gone,media/reference_blue.png,broken.mp4",
    )
)
PARAMETERS = {
    "resolution": 128,
    "max_frames": 4,
    "num_inference_steps": 2,
    "tile_size": 8,
    "tile_overlap": 2,
    "fps": 12,
}


def make_tiny_run(root: Path) -> None:
    """Make `results/demo` below a folder: three pairs that are delivered and one that fails."""
    make_tiny(root / "models")
    (root / "broken.mp4").write_text("no video")
    shutil.copytree(REPOSITORY / "manifests/media", root / "media")
    with contextlib.chdir(root):
        run = plan_run(
            *(Path(), 0, 0),
            columns=COLUMNS,
            more=ROWS,
            parameters=PARAMETERS,
            sampling={"precision": "fp32"},
            models={"bundle": "tiny", "root": "models"},
            score={"metrics": ["frames"]},
        )
        for stage in STAGES:
            for shard in run.plan.shards(stage):
                assert perform_shard(stage, run.layout.root, shard) == 0, stage
        outcomes = RunOutcomes.read(run.layout.root)
        for write in (write_index, write_failures, write_rejects, write_scores):
            write(outcomes)
