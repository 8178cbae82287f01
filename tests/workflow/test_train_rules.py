"""The rules of the training: what they hand to a shell is the user's text, not commands."""

import itertools
import os
import shlex
import subprocess
import sys

import pytest

from tests.workflow.conftest import REPOSITORY

NAMES = ["plain", "{y} {input}", "it's; touch pwned", "$(touch pwned) `x` é"]


@pytest.mark.parametrize("name", NAMES)
def test_options_reach_the_command_as_they_stand(tmp_path, name):
    """Settings, folder and device are one word each, whatever is in them."""
    text = (REPOSITORY / "config/train.yaml").read_text()
    settings = tmp_path / f"{name}.yaml"
    settings.write_text(text.replace("folder: results/train", f'folder: "out {name}"'))
    shown = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--cores", "2", "-n", "-p"),
            *("--snakefile", str(REPOSITORY / "workflow/train.smk")),
            *("--config", f"settings={settings}", f"device=cuda {name}"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    commands = [
        shlex.split(line.partition("dispose train ")[2].rpartition(">")[0])
        for line in (shown.stdout + shown.stderr).splitlines()
        if "dispose train " in line
    ]
    assert len(commands) == 11
    for words in commands:
        options = dict(itertools.pairwise(words))
        assert options["--settings"] == str(settings)
        assert options["--folder"] == f"out {name}"
        assert options["--device"] == f"cuda {name}"
    assert not (tmp_path / "pwned").exists()
