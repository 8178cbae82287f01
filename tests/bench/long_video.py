"""Peak memory of every stage's process for a short and a long video, and how much it grows.

``python -m tests.bench.long_video``. The tiny bundle at its own size, so that hardly anything but
the frames counts. Each stage runs in a process of its own, as a job; ffmpeg's and the decoders'
processes, which hold a few frames each, do not count.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dispose_stages.batch.job import perform_shard
from dispose_stages.batch.stats import JobStats
from dispose_stages.config import STAGES
from dispose_stages.store.ffmpeg import ffmpeg_binary
from dispose_stages.training.bundle.tiny import make_tiny
from tests.toy_run import plan_run

MEDIA = Path(__file__).parents[2] / "manifests/media"
ALLOWED = 1.15


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.long_video", description=__doc__)
    parser.add_argument("--frames", type=int, nargs=2, default=(100, 1000), help="short and long")
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        stage, run, shard = options.job
        sys.exit(perform_shard(stage, Path(run), shard))
    with tempfile.TemporaryDirectory() as folder:
        make_tiny(Path(folder) / "models")
        peaks = [stage_peaks(Path(folder), frames) for frames in options.frames]
    print(table(options.frames, *peaks))


def stage_peaks(root: Path, frames: int) -> dict[str, float]:
    """Peak of every stage's process, MiB, for one clip of so many driving frames.

    Args:
        root: Holds ``models``.
        frames: Of the driver, all of which are used.
    """
    folder = root / str(frames)
    folder.mkdir()
    (folder / "models").symlink_to(root / "models")
    looped_driver(folder / "driver.mp4", frames)
    shutil.copy(MEDIA / "reference_blue.png", folder / "reference.png")
    with contextlib.chdir(folder):
        run = plan_run(
            *(Path(), 0, 0),
            more=("long,reference.png,driver.mp4",),
            parameters={"sample_stride": 1, "num_inference_steps": 2},
            sampling={"precision": "fp32"},
            models={"bundle": "tiny", "root": "models"},
            score={"metrics": ["frames", "pose"]},
        )
        peaks = {}
        for stage in STAGES:
            peaks[stage] = 0.0
            for shard in run.plan.shards(stage):
                job = ["--job", stage, str(run.layout.root), shard]
                command = [sys.executable, "-m", "tests.bench.long_video", *job]
                environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
                subprocess.run(command, check=True, env=environment)
                stats = JobStats.read(run.layout.stats(stage, shard))
                peaks[stage] = max(peaks[stage], stats.attempts[-1].peak_memory / 2**20)
            print(f"{frames} frames: {stage} {peaks[stage]:.0f} MiB", file=sys.stderr)
    return peaks


def looped_driver(path: Path, frames: int) -> None:
    """The demo's dancer, over and over."""
    loop = ["-stream_loop", "-1", "-i", str(MEDIA / "driver_dance.mp4")]
    quiet = ["-hide_banner", "-loglevel", "error"]
    output = ["-frames:v", str(frames), "-c:v", "libx264", "-pix_fmt", "yuv420p", str(path)]
    subprocess.run([ffmpeg_binary(), *quiet, *loop, *output], check=True)


def table(frames: tuple[int, int], short: dict[str, float], long: dict[str, float]) -> str:
    """Markdown, a row per stage."""
    lines = [
        f"| stage | {frames[0]} frames, MiB | {frames[1]} frames, MiB | ratio | KiB a frame |",
        "|---|---|---|---|---|",
    ]
    for stage, least in short.items():
        most = long[stage]
        grown = 1024 * (most - least) / (frames[1] - frames[0])
        lines.append(f"| `{stage}` | {least:.0f} | {most:.0f} | {most / least:.2f} | {grown:.0f} |")
    worst = max(long[stage] / short[stage] for stage in short)
    verdict = "within" if worst <= ALLOWED else "beyond"
    return "\n".join([*lines, "", f"Largest ratio {worst:.2f}: {verdict} {ALLOWED}."])


if __name__ == "__main__":
    main()
