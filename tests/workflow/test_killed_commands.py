"""Commands that clean up, copy and choose die anywhere: nothing delivered is lost.

That of a budget is in test_bounded_runs.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.batch.whole_run import compute, settings
from tests.export.finished_run import LICENCE, FinishedRun

KILLS = 12
RUN = "ROOT/results/demo"
REPOSITORY = Path(__file__).parents[2]


def killed(folder, *words):
    """Files after every kill, and after the same command again; and those without any kill.

    ``ROOT`` stands for the working directory: operations below it are counted.
    """
    command = [sys.executable, "-m", "tests.workflow.killed_command", str(folder), str(KILLS)]
    paths = [str(REPOSITORY), *(path for path in sys.path if path)]
    done = subprocess.run(
        [*command, *(word.replace("ROOT", f"{folder}/run") for word in words)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    calm, *stories = map(json.loads, done.stdout.splitlines())
    # The last one may come after the end: a few operations differ from call to call.
    assert sum(story["killed"] for story in stories) >= KILLS - 1
    return [story["files"] for story in stories], calm["files"][0]


def delivered(files):
    return {name: digest for name, digest in files.items() if "/videos/" in f"/{name}"}


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A run of four pairs that keeps videos only; and what was in it before."""
    root = tmp_path / "run"
    root.mkdir()
    monkeypatch.chdir(root)
    values = settings(root, store={"path": "store", "keep": "videos"})
    compute(values | {"manifest": "media/pairs.csv", "results": "results"})
    monkeypatch.chdir(tmp_path)
    (root / "results/demo/plan/run.lock").unlink()
    root.rename(tmp_path / "kept")
    shutil.copytree(tmp_path / "kept", root)
    return tmp_path


def before(folder):
    from tests.workflow.killed_command import digests

    return digests(folder / "kept")


def test_gc_of_intermediates_loses_no_video(finished):
    """All videos after every kill; artifacts are whole or gone, and gone with a note."""
    words = ("gc", RUN, "--intermediates", "--older-than", "0", "--delete")
    stories, calm = killed(finished, *words)
    old = before(finished)
    assert delivered(old)
    for cut, end in stories:
        assert delivered(cut) == delivered(end) == delivered(old)
        artifacts = {name: digest for name, digest in cut.items() if name.endswith(".zarr.zip")}
        assert artifacts.items() <= old.items()
        assert {name for name in end if name.endswith(".zarr.zip")} == {
            name for name in calm if name.endswith(".zarr.zip")
        }
        assert {n: d for n, d in end.items() if n.endswith("freed.json")} == {
            n: d for n, d in calm.items() if n.endswith("freed.json")
        }


def test_gc_of_videos_moves_them_whole(finished):
    """A video that no row owns lies in one place or the other, never in none."""
    plan = finished / "kept/results/demo/plan/pairs.json"
    content = json.loads(plan.read_text())
    gone = content["pairs"].pop()["pair_id"]
    plan.write_text(json.dumps(content))
    stories, calm = killed(finished, "gc", RUN, "--videos", "--delete")
    old = before(finished)
    files = {Path(name).name: digest for name, digest in delivered(old).items()}
    for cut, end in stories:
        for state in (cut, end):
            places = [n for n in state if Path(n).parent.name in {"videos", "removed"}]
            found = {Path(name).name: state[name] for name in places if ".tmp" not in name}
            assert {n: d for n, d in found.items() if n in files} == files
            owned = {n: d for n, d in delivered(old).items() if Path(n).stem != gone}
            assert owned.items() <= state.items()
        assert delivered(end) == delivered(calm)
    assert any(Path(name).stem == gone and "/removed/" in name for name in calm)


def test_an_archive_takes_nothing_away(finished):
    """The run is what it was; the copy is whole after the second call."""
    stories, calm = killed(finished, "archive", RUN, "--to", "ROOT/kept")
    old = before(finished)
    for cut, end in stories:
        for state in (cut, end):
            rest = {n: d for n, d in state.items() if not n.startswith("kept/")}
            assert old.items() <= rest.items()
        copy = {n: d for n, d in calm.items() if n.startswith("kept/")}
        assert copy
        assert {n: d for n, d in end.items() if n.startswith("kept/")} == copy


def test_a_choice_takes_nothing_away(tmp_path):
    """Nor is there ever half a view."""
    run = FinishedRun(tmp_path / "made")
    for seed, value in enumerate((0.2, 0.9, 0.5)):
        columns = {"parameter_seed": seed, "reference_frame": None, "score_pck_010_body": value}
        run.add(0, 0, f"p0_0_seed{seed}", **columns, **LICENCE)
    run.write()
    (tmp_path / "made").rename(tmp_path / "kept")
    where = run.run_dir.relative_to(tmp_path / "made")
    stories, calm = killed(tmp_path, "select", f"ROOT/{where}", "--best", "pck_010_body")
    old = before(tmp_path)
    view = f"{where}-best-"
    chosen = {name for name in calm if name.startswith(view)}
    assert {Path(name).name for name in chosen} >= {"p0_0_seed1.mp4", "choice.json"}
    for cut, end in stories:
        assert old.items() <= cut.items()
        assert old.items() <= end.items()
        assert {name for name in cut if name.startswith(view)} in (set(), chosen)
        assert {name for name in end if name.startswith(view)} == chosen
