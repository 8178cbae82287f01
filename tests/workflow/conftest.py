"""A working directory with its own manifest, and Snakemake to run in it."""

import os
import shutil
import stat
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
CONFIG = {"run": "test", "models": "tiny", "parameters": {"resolution": 128}}


@dataclass
class Workspace:
    """A working directory of Snakemake.

    Attributes:
        root: The directory.
        python: Interpreter that runs Snakemake; `dispose` is looked for beside it.
        config: What differs from the default configuration.
        environment: Additional variables.
    """

    root: Path
    python: Path
    config: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)

    def command(self, *arguments, profile="profiles/local", **config):
        """What a user would type."""
        (self.root / "config.yaml").write_text(yaml.safe_dump(self.config | config))
        return [
            *(str(self.python), "-m", "snakemake"),
            *("--snakefile", str(REPOSITORY / "Snakefile")),
            *("--profile", str(REPOSITORY / profile)),
            *("--configfile", str(REPOSITORY / "config/config.yaml"), "config.yaml"),
            *("--cores", "2", "--scheduler", "greedy"),
            *map(str, arguments),
        ]

    def snakemake(self, *arguments, check=True, **options):
        """Run Snakemake and return its output."""
        done = self.call(self.command(*arguments, **options))
        if check:
            assert done.returncode == 0, done.stdout + self.logs()
        return done.stdout

    def call(self, command, *, check=False, cwd=None, timeout=None):
        """Run a command to its end; both its outputs as one text."""
        return subprocess.run(
            command,
            cwd=cwd or self.root,
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=check,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    def logs(self):
        """What the jobs said."""
        paths = sorted(self.root.glob("results/*/logs/**/*.log"))
        return "".join(f"\n--- {path}\n{path.read_text()}" for path in paths)

    def calls(self):
        """What was computed since the last look, sorted."""
        path = self.root / "calls.log"
        lines = sorted(path.read_text().splitlines()) if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def files(self):
        """Every file below the working directory but Snakemake's own."""
        found = (p for p in self.root.rglob("*") if p.is_file())
        return sorted(p for p in found if ".snakemake" not in p.parts)


def write_manifest(folder, images, videos, columns=(), rows=()):
    """Fake media and a manifest of all their pairs, with further cells per row."""
    folder.mkdir(exist_ok=True)
    lines = [",".join(["reference_image", "driving_video", *columns])]
    for image in images:
        (folder / image).exists() or (folder / image).write_text(image)
        for video in videos:
            (folder / video).exists() or (folder / video).write_text(video)
            lines.append(",".join([image, video, *next(iter(rows), ())]))
            rows = rows[1:]
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return folder / "pairs.csv"


def make_workspace(folder, dispose, config):
    """A working directory whose rules find this command as `dispose`."""
    python, script = folder / "bin/python", folder / "bin/dispose"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    script.write_text(f'#!/bin/sh\nexec "{python}" {dispose} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    (folder / "work").mkdir()
    paths = sysconfig.get_paths()
    libraries = {paths["purelib"], paths["platlib"]}
    environment = {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sorted(libraries)])}
    return Workspace(folder / "work", python, config, environment)


@pytest.fixture(scope="session")
def untouched(tmp_path_factory):
    """A working directory, before its first run, whose jobs compute without networks."""
    folder = tmp_path_factory.mktemp("workflow")
    fake = Path(__file__).with_name("fake_dispose.py")
    workspace = make_workspace(folder, f'"{fake}"', dict(CONFIG))
    manifest = write_manifest(workspace.root / "media", ["a.png", "b.png"], ["x.mp4", "y.mp4"])
    workspace.config["manifest"] = str(manifest)
    fake_bundle(workspace.root / "models/tiny")
    shutil.copytree(workspace.root, folder / "untouched")
    return workspace


def _restored(workspace, name):
    # Always the same path: units are named after the paths of their media.
    shutil.rmtree(workspace.root)
    shutil.copytree(workspace.root.with_name(name), workspace.root)
    return replace(
        workspace, config=dict(workspace.config), environment=dict(workspace.environment)
    )


@pytest.fixture
def workspace(untouched):
    """A working directory before its first run."""
    return _restored(untouched, "untouched")


@pytest.fixture(scope="session")
def _finished_once(untouched):
    workspace = _restored(untouched, "untouched")
    workspace.snakemake()
    workspace.calls()
    shutil.copytree(workspace.root, workspace.root.with_name("finished"))
    return workspace


@pytest.fixture
def finished(_finished_once):
    """A working directory after a complete run."""
    return _restored(_finished_once, "finished")


def fake_bundle(root):
    """Files that pass for checkpoints until somebody reads them."""
    from dispose_stages.weights.bundle import write_marker
    from dispose_stages.weights.layout import files_of

    for file in files_of():
        path = root / file.places[0].path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("weights")
    write_marker(root, "tiny")
