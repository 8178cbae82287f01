"""A working directory with tiny weights, a manifest, and Snakemake to run in it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from dispose_stages.atomic import write_text
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger
from dispose_stages.batch.unit import Result
from tests.slurm.media import write_pairs

REPOSITORY = Path(__file__).parents[2]
MARK = "NOTED_ROOT"
"""Environment variable of all processes of a workspace."""
SMALL = {
    "parameters": {
        "resolution": 128,
        "sample_stride": 1,
        "max_frames": 4,
        "tile_size": 4,
        "tile_overlap": 1,
        "num_inference_steps": 4,
        "decode_chunk_size": 4,
    },
    "correspondence": {"ensemble": 1},
    "sampling": {"checkpoint_every": 0},
    "compute": {"threads": 1},
    # Estimates that give several jobs per stage.
    "shards": {
        "minutes": 1,
        "measured": False,  # two runs of one folder are compared, ledger by ledger
        "seconds_per_unit": {
            "pose": 0.1,
            "motion": 3,
            "correspondence": 0.1,
            "sample": 6,
            "mux": 3,
        },
    },
}


@dataclass(frozen=True)
class Call:
    """A line of the notes of `tests.slurm.paced_dispose`."""

    event: str
    stage: str
    unit: str
    job: str
    process: str
    gpus: str


@dataclass
class Workspace:
    """The working directory.

    Attributes:
        root: Where it is.
        environment: Variables beside those of this process.
    """

    root: Path
    environment: dict[str, str]

    @classmethod
    def make(cls, root: Path, *, images: int, videos: int) -> Workspace:
        """Write weights and media, and the command ``dispose`` beside a Python."""
        make_tiny = ["-m", "dispose_stages.cli", "weights", "make-tiny", str(root / "tiny")]
        subprocess.run([sys.executable, *make_tiny], cwd=REPOSITORY, check=True)
        manifest = write_pairs(root / "media", images, videos)
        (root / "media/broken.mp4").write_bytes(b"no video at all")
        with manifest.open("a") as stream:
            stream.writelines(f"i{i}_broken,i{i}.png,broken.mp4\n" for i in range(images))
        python = root / "bin/python"
        python.parent.mkdir()
        python.symlink_to(sys.executable)
        script = root / "bin/dispose"
        script.write_text(f'#!/bin/sh\nexec "{python}" -m tests.slurm.paced_dispose "$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        paths = sysconfig.get_paths()
        libraries = sorted({paths["purelib"], paths["platlib"]})
        path = os.pathsep.join([str(REPOSITORY), *libraries])
        return cls(root, {"PYTHONPATH": path, MARK: str(root)})

    def start(self, run: str, profile: Path, *arguments: str, **config: object) -> subprocess.Popen:
        """Start Snakemake on a run; its output goes to ``<run>.out``.

        Args:
            run: Its name; it has a store of its own unless told otherwise.
            profile: Of Snakemake.
            arguments: For Snakemake.
            config: What differs from the settings of all runs here.
        """
        command = [
            *(str(self.root / "bin/python"), "-m", "tests.slurm.impatient_snakemake"),
            *("--snakefile", str(REPOSITORY / "Snakefile"), "--profile", str(profile)),
            *("--configfile", str(REPOSITORY / "config/config.yaml")),
            str(self._configure(run, config)),
            *arguments,
        ]
        return self._spawn(run, command)

    def start_dispose(self, run: str, profile: Path, *arguments: str) -> subprocess.Popen:
        """The same by ``dispose run``, with its arguments."""
        config = str(self._configure(run, {}))
        command = [str(self.root / "bin/dispose"), "run", "--profile", str(profile)]
        return self._spawn(run, [*command, "--config", config, *arguments])

    def _configure(self, run: str, config: Mapping[str, object]) -> Path:
        own = {
            "run": run,
            "manifest": "media/pairs.csv",
            "results": "results",
            "store": f"store-{run}",
            "models": {"bundle": "tiny", "root": "tiny"},
        }
        path = self.root / f"{run}.yaml"
        path.write_text(yaml.safe_dump(SMALL | own | config))
        return path

    def _spawn(self, run: str, command: Sequence[str]) -> subprocess.Popen:
        with self.output(run).open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=self.root,
                env=os.environ | self.environment | {"NOTED_RUN": run},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill_leftovers(self) -> None:
        """End what a killed Snakemake left, and what a node that was set down did not end."""
        mark = f"{MARK}={self.root}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)

    def output(self, run: str) -> Path:
        """What Snakemake said."""
        return self.root / f"{run}.out"

    def gates(self, run: str, **passing: int) -> None:
        """Say where all jobs wait from now on, and how many units pass before (`paced_dispose`)."""
        write_text(self.root / f"{run}.gates.json", json.dumps(passing))

    def calls(self, run: str) -> list[Call]:
        """What jobs did so far."""
        path = self.root / f"{run}.calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [Call(*line.split()) for line in lines]

    def count(self, run: str, event: str, stage: str) -> Counter[str]:
        """How often it happened to which unit."""
        return Counter(c.unit for c in self.calls(run) if (c.event, c.stage) == (event, stage))

    def layout(self, run: str) -> RunLayout:
        """Where the run lies."""
        return RunLayout(self.root / "results" / run)

    def entries(self, run: str, stage: str) -> dict[str, Result]:
        """Outcomes of all units of a stage."""
        paths = sorted((self.layout(run).root / "ledger" / stage).glob("*.json"))
        return {unit: entry for path in paths for unit, entry in Ledger.read(path).units.items()}

    def stats(self, run: str, stage: str) -> dict[str, dict]:
        """Shard to statistics."""
        paths = sorted((self.layout(run).root / "stats" / stage).glob("*-of-*.json"))
        return {path.stem: json.loads(path.read_text()) for path in paths}

    def log(self, run: str, stage: str, shard: str) -> str:
        """What the jobs of a shard said."""
        return self.layout(run).log(stage, shard).read_text()

    def results(self, run: str) -> dict[str, bytes]:
        """Name to content of everything that must not depend on how the run went."""
        found = {}
        for folder, endings in (
            (f"store-{run}", (".zarr.zip", ".json")),
            (f"results/{run}/ledger", (".json",)),
            (f"results/{run}/videos", (".mp4", ".json")),
        ):
            top = self.root / folder
            for path in top.rglob("*"):
                hidden = any(part.startswith(".") for part in path.relative_to(top).parts)
                if path.is_file() and path.name.endswith(endings) and not hidden:
                    name = Path(folder).parts[-1] if "store" not in folder else "store"
                    found[f"{name}/{path.relative_to(top)}"] = path.read_bytes()
        return found

    def logs(self, run: str) -> str:
        """The end of everything that was said, for a failed test."""
        paths = [self.output(run), *sorted(self.layout(run).root.glob("logs/**/*.log"))]
        paths += sorted(self.root.glob(".snakemake/slurm_logs/**/*.log"))
        return "".join(
            f"\n--- {path}\n{path.read_text(errors='replace')[-3000:]}"
            for path in paths
            if path.exists()
        )


def kill_hard(process: subprocess.Popen) -> None:
    """SIGKILL to the process alone: nothing it could do about it, and its cluster jobs live on."""
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
