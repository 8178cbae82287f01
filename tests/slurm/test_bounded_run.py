"""A pilot on the cluster, a budget that ends in the middle of a clip, and the rest."""

import pytest

from dispose_stages.config import STAGES
from tests.slurm.cluster import wait_until
from tests.slurm.story import write_profile
from tests.slurm.workspace import Workspace, kill_hard

pytestmark = pytest.mark.slurm
RUN = "bounded"
PATIENCE = 600.0


@pytest.fixture(scope="module")
def workspace(cluster, tmp_path_factory):
    """After three commands, with what was there after each."""
    workspace = Workspace.make(tmp_path_factory.mktemp("bounded"), images=2, videos=3)
    site = tmp_path_factory.mktemp("site")
    profile = write_profile(site / "slurm", sample=f"card_of_{cluster.names[-1]}")
    workspace.states, workspace.jobs = [], []

    def at_a_step():
        return workspace.count(RUN, "wait", "step")

    def dispose(*arguments, late=False):
        process = workspace.start_dispose(RUN, profile, *arguments)
        try:
            if late:
                wait_until(at_a_step, PATIENCE, "a clip with a step behind it")
                (workspace.root / f"{RUN}.late").touch()
            status = process.wait(timeout=PATIENCE)
        finally:
            if process.poll() is None:
                kill_hard(process)
        left = [job.id for job in cluster.jobs("pending", "running", "suspended")]
        videos = (p for p in workspace.layout(RUN).videos.iterdir() if p.is_file())
        files = {p: p.read_bytes() for p in videos}
        workspace.states.append((status, left, files))
        workspace.jobs = cluster.jobs()

    try:
        workspace.gates(RUN)
        dispose("--first", "2")
        workspace.gates(RUN, step=1)
        dispose("--until-time", "2999-12-31", late=True)
        workspace.gates(RUN)
        dispose()
    except Exception as error:
        error.add_note(workspace.logs(RUN) + cluster.logs())
        raise
    finally:
        workspace.kill_leftovers()
    return workspace


def test_a_pilot_delivers_its_rows(workspace):
    """And nothing else; its videos stay as they are."""
    status, left, videos = workspace.states[0]
    assert (status, left) == (0, []), workspace.logs(RUN)
    assert {path.stem for path in videos} == {"i0_v0", "i0_v1"}
    for _, _, later in workspace.states[1:]:
        assert videos.items() <= later.items()


def test_a_spent_budget_ends_the_jobs(workspace):
    """Exit status 75 with the reason; no job is left in the queue or on a node."""
    status, left, _ = workspace.states[1]
    assert (status, left) == (75, []), workspace.logs(RUN)
    said = workspace.output(RUN).read_text()
    assert "the budget is spent: it is " in said
    assert "the same command continues" in said


def test_the_same_command_ends_it(workspace):
    """Every row but those of the broken driver; a clip under way goes on at its step."""
    status, left, videos = workspace.states[2]
    assert (status, left) == (3, []), workspace.logs(RUN)
    assert {path.stem for path in videos} == {f"i{i}_v{v}" for i in range(2) for v in range(3)}
    logs = (workspace.log(RUN, "sample", shard) for shard in workspace.stats(RUN, "sample"))
    assert any("goes on at step 1" in log for log in logs)


def test_a_stage_runs_where_its_card_is(cluster, workspace):
    """On the last node, which the controller takes for no other job while the first has room."""
    nodes = {job.node for job in workspace.jobs if job.stage == "sample" and job.node}
    assert nodes == {cluster.names[-1]}


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "score"])  # which is off
def test_nothing_is_computed_twice(workspace, stage):
    """Not by the pilot, nor by what follows."""
    assert set(workspace.count(RUN, "commit", stage).values()) == {1}
