"""What an export costs beside `tar`, which packs the same files; `make bench`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import time
from functools import partial

import numpy as np
import pytest

from dispose_stages.artifacts import MotionField
from dispose_stages.export.plan import plan_export
from dispose_stages.export.publish import publish
from dispose_stages.export.settings import ExportSettings, Layout
from dispose_stages.geometry.dense_field import to_fixed_point
from dispose_stages.store.files import file_digest
from dispose_stages.store.shelf import Video
from tests.bench.size import size
from tests.export.finished_run import FinishedRun, key_of, track

SAMPLES, TURNS = size((700, 2), (4, 1))
MOTIONS, FRAMES, HEIGHT, WIDTH = 10, 72, 1024, 576
VIDEO_BYTES = 2 << 20

pytestmark = pytest.mark.bench


@pytest.fixture
def run(tmp_path):
    """Clips of 72 frames of 576 x 1024, two megabytes of video each, poses and fields beside."""
    run = FinishedRun(tmp_path)
    sample = run.add(0, 0) | {"frames": FRAMES, "height": HEIGHT, "width": WIDTH}
    flow = np.random.default_rng(0).normal(size=(FRAMES, 2, 192, 192)).astype(np.float32)
    field = MotionField(
        poses=track(FRAMES + 1),
        person=np.zeros(FRAMES + 1, int),
        cmp_flow=to_fixed_point(flow),
        height=HEIGHT,
        width=WIDTH,
        scale=(1.0, 1.0),
        shift=(0.0, 0.0),
        residual=0.0,
    )
    motions = [run.artifact("motion", field, {}, "bench", n) for n in range(MOTIONS)]
    run.records.clear()
    for path in run.layout.videos.glob("p0_0*"):  # belongs to no row any more
        path.unlink()
    for number in range(SAMPLES):
        pair_id, key = f"s{number:05d}", key_of("mux", number)
        staged = run.shelf.staging(pair_id, key, ".mp4")
        staged.parent.mkdir(parents=True, exist_ok=True)
        staged.write_bytes(os.urandom(VIDEO_BYTES))
        video = run.shelf.commit(pair_id, key, Video(staged, FRAMES, HEIGHT, WIDTH, 15.0), {})
        told = {"pair_id": pair_id, "key_mux": key, "key_motion": motions[number % MOTIONS]}
        file = {"video_digest": video.digest, "size_bytes": video.size_bytes}
        run.records.append(sample | told | file)
    run.write()
    return run


def measured(action):
    """Wall and CPU seconds, those of child processes included."""
    before, start = os.times(), time.perf_counter()
    action()
    seconds, after = time.perf_counter() - start, os.times()
    return seconds, sum(after[:4]) - sum(before[:4])


def bench_export_beside_tar(run, tmp_path, capsys):
    """Both flush to disk; the export also checks every video and takes every shard's digest.

    Beside them what both digests cost alone, on one core: no export that checks can be faster than
    that over the number of cores.
    """
    settings = ExportSettings(Layout.WEBDATASET, unlicensed_ok=True, samples_per_shard=50)
    plan = plan_export(run.run_dir, settings)
    files, packed = tmp_path / "files", tmp_path / "all.tar"
    publish(run.run_dir, plan, tmp_path / "first")
    for shard in (tmp_path / "first" / "data").iterdir():
        with tarfile.open(shard) as members:
            members.extractall(files, filter="data")
    shutil.rmtree(tmp_path / "first")
    total = sum(path.stat().st_size for path in files.iterdir())
    videos = sorted(files.glob("*.mp4"))
    command = ["sh", "-c", f"tar -cf {packed} -C {files} . && sync {packed}"]
    lines = []
    for turn in range(TURNS):
        by_tar, tar_cpu = measured(partial(subprocess.run, command, check=True))
        _, digests = measured(lambda: [file_digest(path) for path in (*videos, packed)])
        packed.unlink()
        for workers in (1, 2):
            folder = tmp_path / f"export{turn}{workers}"
            ours, cpu = measured(partial(publish, run.run_dir, plan, folder, workers=workers))
            shutil.rmtree(folder)
            own = f" ({cpu:.2f} s)" if workers == 1 else ""  # others' CPU is not told of
            lines.append(
                f"{total / 1e6:.0f} MB: tar {by_tar:.2f} s ({tar_cpu:.2f} s of CPU, digests "
                f"{digests:.2f} s more); export, {workers} processes: {ours:.2f} s{own}, "
                f"{by_tar / ours:.0%} of its rate"
            )
    with capsys.disabled():
        print("\n" + "\n".join(lines))  # noqa: T201 - a measurement
