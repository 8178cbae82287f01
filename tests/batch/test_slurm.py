import re

from dispose_stages.batch.programs import ProgramError
from dispose_stages.batch.slurm import (
    LONGEST_PREFIX,
    cancel_orphans,
    cancel_waiting,
    job_name_prefix,
    settle_status_command,
)


class Slurm:
    """Stands for squeue and scancel."""

    def __init__(self, listing):
        self.listing = listing
        self.cancelled = []

    def __call__(self, command):
        if command[0] == "scancel":
            self.cancelled.append(list(command[1:]))
            return ""
        assert command[:2] == ["squeue", "--me"]
        return self.listing


def refuse(command):
    """A program that is missing, fails or does not answer."""
    raise ProgramError(command[0])


def test_every_run_has_its_own_prefix(tmp_path):
    """Runs of the same name in different folders are told apart; the plugin takes the prefix."""
    (tmp_path / "a").mkdir()
    paths = [tmp_path / "a/demo", tmp_path / "b/demo", tmp_path / "b" / ("ö long run" * 20)]
    prefixes = [job_name_prefix("dispose", path) for path in paths]
    assert len(set(prefixes)) == 3
    assert prefixes[0].startswith("dispose-demo-")
    for prefix in [*prefixes, job_name_prefix("", paths[0]), job_name_prefix(None, paths[0])]:
        assert re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9_-]{{1,{LONGEST_PREFIX - 1}}}", prefix)


def test_the_prefix_belongs_to_the_folder_not_to_how_it_is_written(tmp_path, monkeypatch):
    """A relative path names the same run."""
    monkeypatch.chdir(tmp_path)
    relative = (tmp_path / "results/demo").relative_to(tmp_path)
    assert job_name_prefix("x", relative) == job_name_prefix("x", tmp_path / "results/demo")


def test_jobs_of_this_run_are_cancelled_and_no_others():
    """A longer prefix, another program's job and another run stay."""
    slurm = Slurm("11|p-1_aa-bb\n12|p-1_cc\n13|p-12_aa\n14|bash\n15|xp-1_aa\n\n")
    assert cancel_orphans("p-1", slurm) == ["11", "12"]
    assert slurm.cancelled == [["11", "12"]]


def test_thousands_of_jobs_fit_on_the_command_line():
    """They are cancelled in portions."""
    slurm = Slurm("".join(f"{i}|p_a\n" for i in range(1201)))
    assert len(cancel_orphans("p", slurm)) == 1201
    assert [len(each) for each in slurm.cancelled] == [500, 500, 201]


def test_only_what_waits_of_this_run_is_cancelled(tmp_path):
    """Asked for by state, told by the run's folder, whatever prefix the profile gives."""
    mine, other = (job_name_prefix("dispose", tmp_path / name) for name in ("mine", "other"))
    slurm = Slurm(f"1|{mine}_aa\n2|{other}_aa\n3|bash\n")
    asked = []
    found = cancel_waiting(tmp_path / "mine", lambda c: asked.append(list(c)) or slurm(c))
    assert found == ["1"]
    assert asked[0][2:4] == ["--states", "PENDING"]
    assert slurm.cancelled == [["1"]]


def test_without_slurm_nothing_waits(tmp_path):
    """A budget that is spent on a workstation looks for no jobs there."""

    assert cancel_waiting(tmp_path, refuse) == []


def test_nothing_to_cancel_calls_nothing():
    """A first start leaves SLURM alone."""
    slurm = Slurm("")
    assert cancel_orphans("p", slurm) == []
    assert slurm.cancelled == []


def test_a_scheduler_that_does_not_answer_stops_nobody(caplog):
    """The heartbeats of orphans keep new jobs off their shards anyway."""
    assert cancel_orphans("p", refuse) == []
    assert "could not be" in caplog.text


def test_accounts_are_asked_where_there_are_any():
    """Any other wish of the profile is respected, and then sacct is not even tried."""
    assert settle_status_command("sacct", lambda command: "") == "sacct"
    for given in ("squeue", None):
        assert settle_status_command(given, lambda command: 1 / 0) == given


def test_without_accounts_the_queue_is_asked():
    """sacct is installed everywhere, but has nobody to ask."""
    assert settle_status_command("sacct", refuse) == "squeue"
