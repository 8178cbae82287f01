"""The program installed from its wheel, in a folder that knows nothing of a checkout."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MEDIA = REPOSITORY / "manifests/media"


def command(*arguments, cwd, check=True):
    """Run a program as a user would, without this checkout's paths in the environment."""
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        list(map(str, arguments)),
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def dispose(tmp_path_factory):
    """The installed command; what the package needs is taken from this environment."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip")
    build = ("wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index")
    command(*pip, *build, "--wheel-dir", folder, REPOSITORY, cwd=folder)
    environment = folder / "environment"
    command(sys.executable, "-m", "venv", "--without-pip", environment, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    python = environment / "bin/python"
    command(*pip, "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=folder)
    (packages,) = environment.glob("lib/python*/site-packages")
    paths = sysconfig.get_paths()
    (packages / "dependencies.pth").write_text(f"{paths['purelib']}\n{paths['platlib']}\n")
    return environment / "bin/dispose"


@pytest.fixture
def pictures(tmp_path):
    """A folder of somebody's media with a manifest of one short pair."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("reference_blue.png", "driver_wave.mp4"):
        (folder / name).write_bytes((MEDIA / name).read_bytes())
    (folder / "m.csv").write_text(
        "reference_image,driving_video,max_frames,num_inference_steps,resolution\n"
        "reference_blue.png,driver_wave.mp4,2,1,64\n"
    )
    return folder


def files_of(dispose):
    """What the installation consists of."""
    found = dispose.parents[1].rglob("*")
    return sorted(path for path in found if "__pycache__" not in path.parts)


def test_a_run_lies_below_the_folder_it_was_called_in(dispose, pictures, tmp_path):
    """The first stages: real jobs with the installed command and the installed bundle."""
    here, before = tmp_path / "here", files_of(dispose)
    here.mkdir()
    settings = ("--manifest", "../pictures/m.csv", "--set", "run=first")
    # Status 4: no video was delivered.
    command(dispose, "run", *settings, "--", "--until", "pose", cwd=here, check=False)
    assert list((here / "results/first/ledger/pose").glob("*.json"))
    assert list((here / "store/pose").rglob("*.zip"))
    assert sorted(path.name for path in here.iterdir()) == [".snakemake", "results", "store"]
    assert files_of(dispose) == before


@pytest.mark.slow
def test_the_walk_from_nothing_to_a_video(dispose, pictures, tmp_path):
    """Project, media, weights, run, report: each command as the one before says it."""
    (pictures / "m.csv").unlink()
    assert "no manifest at manifests/demo.csv" in command(dispose, "run", cwd=tmp_path, check=False)
    assert "dispose weights download" in command(dispose, "init", "films", cwd=tmp_path)
    films = tmp_path / "films"
    assert "has no rows" in command(dispose, "run", cwd=films, check=False)
    command(dispose, "manifest", "cross", *2 * [pictures], "-o", "manifest.csv", cwd=films)
    assert "--root models/official` brings" in command(dispose, "run", cwd=films, check=False)
    command(dispose, "weights", "make-tiny", cwd=films)
    short = [f"parameters.{key}" for key in ("max_frames=2", "num_inference_steps=1")]
    settings = [word for key in ("models=tiny", *short) for word in ("--set", key)]
    assert "1 of 1 rows delivered" in command(dispose, "run", *settings, cwd=films)
    assert len(list((films / "results/films/videos").glob("*.mp4"))) == 1
    assert "<html" in (films / "results/films/report.html").read_text()
    assert "1 of 1 rows delivered" in command(dispose, "status", "results/films", cwd=films)
    program = (
        "import dispose_stages; (pair,) = dispose_stages.open_run('results/films');"
        "print(*dispose_stages.open_run('results/films')[pair].motion.tracks.shape)"
    )
    assert command(dispose.with_name("python"), "-c", program, cwd=films).split() == [
        "3",
        "18",
        "2",
    ]
    assert sorted(path.name for path in films.iterdir()) == [
        ".gitignore", ".snakemake", "config", "manifest.csv", "models", "profiles", "results",
        "store",
    ]  # fmt: skip


def test_a_path_from_elsewhere_is_explained(dispose, tmp_path):
    """Whoever writes paths from the working directory learns where they begin."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "a.png").write_bytes((MEDIA / "reference_blue.png").read_bytes())
    (tmp_path / "lists/m.csv").write_text("reference_image,driving_video\na.png,gone.mp4\n")
    output = command(dispose, "run", "--manifest", "lists/m.csv", "-n", cwd=tmp_path, check=False)
    assert f"begin at its own folder, {tmp_path / 'lists'}; there is one in the working" in output


def test_the_small_bundle_is_part_of_the_program(dispose, tmp_path):
    """And so are profiles, the schema and the workflow."""
    output = command(dispose, "weights", "check", cwd=tmp_path)
    assert "all files of the bundle 'small' are there" in output
    (shipped,) = dispose.parents[1].rglob("_shipped")
    for name in ("Snakefile", "profiles/slurm/config.yaml", "config/config.schema.json"):
        assert (shipped / name).read_bytes() == (REPOSITORY / name).read_bytes()
