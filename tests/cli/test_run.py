import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from dispose_stages.batch import learning
from dispose_stages.batch.control import Control
from dispose_stages.cli import cli, conduct
from dispose_stages.cli import run as module
from dispose_stages.cli.supervision import Supervised
from dispose_stages.config_text import parse_settings
from dispose_stages.errors import ConfigError, DisposeError, Reason, UnitError
from dispose_stages.shipped import shipped
from tests.toy_run import CountingStage, plan_run


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Commands that would have been run; each succeeds."""
    calls = []

    def called(command, *_, **__):
        calls.append(command)
        return Supervised(status=0)

    monkeypatch.setattr(conduct, "supervise", called)
    (tmp_path / "Snakefile").touch()
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(f"results: {tmp_path}/results\nparameters: {{seed: 1}}\n")
    return SimpleNamespace(commands=calls, config=config)


def dispose_run(calls, *arguments):
    result = CliRunner().invoke(cli, ["run", "--config", str(calls.config), *arguments])
    if isinstance(result.exception, DisposeError):
        raise result.exception
    return result


def after(command, option):
    return command[command.index(option) + 1]


def test_the_command_line_is_snakemakes(calls):
    """Profile, configuration, overrides by section, and further arguments at the end."""
    dispose_run(
        calls,
        *("--profile", "profiles/slurm", "--manifest", "my pairs.csv", "--force", "sample"),
        *("--set", "parameters.seed=3", "--set", "parameters.fps=8.5", "--set", "run=mine"),
        *("--", "--until", "motion"),
    )
    (command,) = calls.commands
    assert command[:3] == [sys.executable, "-m", "snakemake"]
    assert after(command, "--profile") == str(shipped("profiles/slurm"))
    files = command[command.index("--configfile") + 1 :][:2]
    assert files[0] == str(calls.config)
    assert after(command, "--forcerun") == "sample"
    assert command[-2:] == ["--until", "motion"]
    assert json.loads(Path(files[1]).read_text()) == {
        "parameters": {"seed": "3", "fps": "8.5"},
        "manifest": "my pairs.csv",
        "run": "mine",
    }


def test_drivers_are_looked_at_in_a_command_of_their_own(calls, monkeypatch):
    """Where that is worth it, before everything; not where the user chose the stages."""
    monkeypatch.setattr(learning, "drivers_to_probe", lambda config: 3)
    dispose_run(calls, "--yes")
    first, second = calls.commands
    assert first == [*second, "--until", "ingest"]
    calls.commands.clear()
    dispose_run(calls, "--yes", "--force", "mux")
    dispose_run(calls, "--yes", "--", "--until", "pose")
    assert len(calls.commands) == 2


def test_a_wrong_configuration_starts_nothing(calls):
    """The error names the key, and snakemake is not called."""
    with pytest.raises(ConfigError, match=r"parameters\.fps"):
        dispose_run(calls, "--set", "parameters.fps=fast")
    assert calls.commands == []


def test_a_dry_run_has_snakemakes_status(calls, tmp_path):
    """Nothing is delivered by looking."""
    manifest = plan_run(tmp_path).config.manifest
    assert dispose_run(calls, "--dry-run", "--manifest", manifest).exit_code == 0
    assert calls.commands[0][-1] == "--dry-run"


@pytest.mark.parametrize(
    ("failing", "snakemake", "status"),
    [
        ((), 0, 0),
        (("v1.mp4",), 0, 3),
        (("v0.mp4", "v1.mp4"), 0, 4),
        ((), 1, 1),
        (("v1.mp4",), 1, 3),
    ],
)
def test_exit_status_says_how_much_was_delivered(tmp_path, failing, snakemake, status):
    """All 0, some 3, none 4; a run that failed although all is there 1."""

    def before(unit):
        if unit.label in failing:
            raise UnitError(Reason.NO_FRAMES, "no")

    run = plan_run(tmp_path)
    run.stages["pose"] = CountingStage("pose", before)
    run.perform_all()
    hold(run, pid=77)
    assert module.exit_status(run.config, Supervised(pid=77, status=snakemake)) == status


def hold(run, pid):
    """A process took the run and let it go again."""
    run.layout.run_lock.write_text(f"process {pid} on here")


def test_a_run_that_was_never_planned_failed(tmp_path):
    """Whatever Snakemake says."""
    run = plan_run(tmp_path)
    run.layout.summary.unlink()
    for status in (0, 1, 2):
        assert module.exit_status(run.config, Supervised(pid=77, status=status)) == 1


def test_a_run_that_did_not_come_about_is_not_judged_by_earlier_ones(tmp_path):
    """Busy or broken set-up: 1. No row that can run: 4."""
    run = plan_run(tmp_path)
    run.perform_all()
    hold(run, pid=76)
    refused = Supervised(pid=77, status=1)
    assert module.exit_status(run.config, refused) == 1
    manifest = tmp_path / "bad.csv"
    manifest.write_text("reference_image,driving_video\nnone.png,none.mp4\n")
    hopeless = run.config.model_copy(update={"manifest": str(manifest)})
    assert module.exit_status(hopeless, refused) == 4


def test_single_pairs_are_forced_by_their_units(calls, tmp_path):
    """Only the named pairs' units get a new token, and snakemake is not told to force the stage."""
    run = plan_run(tmp_path)
    dispose_run(calls, "--force", "sample", "--pairs", "i0_v0,i1_v1")
    stamps = Control.read(run.layout.control).stamps
    chosen = {p.units["sample"] for p in run.plan.rows if p.pair_id in {"i0_v0", "i1_v1"}}
    assert set(stamps) == {"sample"}
    assert set(stamps["sample"]) == chosen
    assert "--forcerun" not in calls.commands[0]


def test_forcing_single_pairs_on_a_dry_run_renews_nothing(calls, tmp_path):
    """It only says how many: of four the pose of the image and that of the video."""
    run = plan_run(tmp_path)
    run.perform_all()
    settings = [f"{key}={getattr(run.config, key)}" for key in ("manifest", "results", "store")]
    given = [word for setting in settings for word in ("--set", setting)]
    result = dispose_run(calls, "-n", "--force", "pose", "--pairs", "i0_v0", *given)
    (line,) = (line for line in result.output.splitlines() if line.startswith("pose "))
    assert "2 forced" in line
    assert not run.layout.control.exists()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--pairs", "i0_v0"], "--pairs needs --force"),
        (["--pairs", "i0_v0,x,y", "--force", "mux"], "has no pair x, y"),
    ],
)
def test_wrong_pairs_are_named(calls, tmp_path, arguments, match):
    """Before anything is started."""
    plan_run(tmp_path)
    with pytest.raises(DisposeError, match=match):
        dispose_run(calls, *arguments)
    assert calls.commands == []


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (("a.b=1", "a.c=x", "d=null"), {"a": {"b": "1", "c": "x"}, "d": None}),
        (("a=b=c",), {"a": "b=c"}),
        (("a={x: 1}", "a.y=2"), {"a": {"x": "1", "y": "2"}}),
        ((), {}),
    ],
)
def test_settings_become_nested_values(settings, values):
    """Right-hand sides are text, sections YAML."""
    assert parse_settings(settings) == values


@pytest.mark.parametrize("setting", ["a", "=1", "a..b=1", "a.=1"])
def test_malformed_settings(setting):
    """Each is named."""
    with pytest.raises(ConfigError, match="--set"):
        parse_settings((setting,))


def test_a_value_cannot_be_a_section_too():
    """Contradictory settings are refused."""
    with pytest.raises(ConfigError, match="already has a value"):
        parse_settings(("a=1", "a.b=2"))


def test_the_demo_goes_through_the_ordinary_run(calls, monkeypatch):
    """With a profile, further arguments and its own settings; a dry run prints no table."""
    arguments = ["--config", str(calls.config), "--profile", "profiles/slurm", "--dry-run"]
    done = CliRunner().invoke(cli, ["benchmark", "demo", *arguments, "--", "--until", "score"])
    assert done.exit_code == 0, done.output
    (command,) = calls.commands
    assert after(command, "--profile").endswith("profiles/slurm")
    assert command[-3:] == ["--dry-run", "--until", "score"]
    (file,) = (path for path in command if path.startswith(".snakemake/dispose/"))
    settings = json.loads(Path(file).read_text())
    assert settings["parameters"] == {"sample_stride": "1", "max_frames": "9"}
    assert settings["run"] == "benchmark_demo"
    rows = Path(settings["manifest"]).read_text().splitlines()
    assert len(rows) == 1 + 4 * 4
    first = Path(settings["manifest"]).read_bytes()
    CliRunner().invoke(cli, ["benchmark", "demo", *arguments])
    assert Path(settings["manifest"]).read_bytes() == first
    assert calls.commands[1][:-2] == command[:-2][: len(calls.commands[1][:-2])]


def test_efforts_are_runs_of_their_own(calls):
    """Over the same manifest; what is said of sampling beside stays."""
    arguments = ["--config", str(calls.config), "--set", "sampling.checkpoint_every=2", "-n"]
    done = CliRunner().invoke(cli, ["benchmark", "demo", *arguments, "--efforts", "exact,fast"])
    assert done.exit_code == 0, done.output
    told = [
        json.loads(
            Path(next(p for p in command if p.startswith(".snakemake/dispose/"))).read_text()
        )
        for command in calls.commands
    ]
    assert [settings["run"] for settings in told] == ["benchmark_demo_exact", "benchmark_demo_fast"]
    assert [settings["sampling"] for settings in told] == [
        {"checkpoint_every": "2", "effort": effort} for effort in ("exact", "fast")
    ]
    first, second = (Path(settings["manifest"]).read_bytes() for settings in told)
    assert first == second


def test_an_unknown_effort_is_named(calls):
    """Before anything runs."""
    arguments = ["--config", str(calls.config), "-n", "--efforts", "quick"]
    done = CliRunner().invoke(cli, ["benchmark", "demo", *arguments])
    assert "sampling.effort" in str(done.exception)
    assert calls.commands == []


def test_a_document_without_the_table_is_refused_before_anything_runs(calls, tmp_path):
    """It is not found out minutes later."""
    (tmp_path / "d.md").touch()
    done = CliRunner().invoke(cli, ["benchmark", "demo", "--write", str(tmp_path / "d.md")])
    assert "<!-- demo: begin -->" in str(done.exception)
    assert isinstance(done.exception, ConfigError)
    assert calls.commands == []


def test_only_documented_benchmarks_are_written(calls, tmp_path):
    """Another one says so instead of leaving the document as it is."""
    (tmp_path / "d.md").touch()
    arguments = ["--root", str(tmp_path), "--write", str(tmp_path / "d.md")]
    done = CliRunner().invoke(cli, ["benchmark", "unseen", *arguments])
    assert isinstance(done.exception, ConfigError)
    assert calls.commands == []
