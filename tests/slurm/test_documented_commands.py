"""Commands of SLURM in docs/cluster.md, on the cluster; the others: test_commands_in_docs."""

import shlex

import pytest

from tests.slurm.workspace import REPOSITORY
from tests.test_commands_in_docs import _FENCE

pytestmark = pytest.mark.slurm
PROGRAMS = ("squeue", "sinfo", "scontrol", "scancel", "sacct", "sbatch", "srun")


def commands():
    text = (REPOSITORY / "docs/cluster.md").read_text()
    lines = (line.strip() for block in _FENCE.findall(text) for line in block.splitlines())
    return [line for line in lines if line.split(" ")[0] in PROGRAMS]


def test_there_are_some():
    """The search finds them."""
    assert len(commands()) >= 3


@pytest.mark.parametrize("command", commands())
def test_the_cluster_takes_it(cluster, command):
    """With the options it is shown with."""
    assert cluster.run(*shlex.split(command))
