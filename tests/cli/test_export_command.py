"""``dispose export`` and ``dispose takedown`` as a user types them."""

from __future__ import annotations

import importlib.util

import pytest
from click.testing import CliRunner

from dispose_stages.cli import cli
from dispose_stages.errors import ExportError
from tests.export.finished_run import FinishedRun, crossed


def dispose(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_a_run_becomes_a_data_set_and_a_source_leaves_it(tmp_path):
    """Numbers are said: of samples, of what was left out, of what a takedown finds and removes."""
    run = crossed(tmp_path, 3, 3)
    run.records[0]["caption"] = None
    run.write()
    about = tmp_path / "about.yaml"
    about.write_text("name: Dances\n")
    command = ("export", run.run_dir, "--layout", "webdataset", "--split", "0.5/0.5")
    command += ("--filter", "caption is not None", "--about", about, "--jobs", 1)
    made = dispose(*command, "--to", tmp_path / "d")
    assert made.exit_code == 0, made.output
    assert "of 9 pairs exported" in made.output
    assert "  1 left out: filtered" in made.output
    assert "between_splits" in made.output
    assert "  test: " in made.output
    listed = dispose("takedown", run.image(1), "--results", tmp_path / "results")
    assert "can be removed (with --yes)" in listed.output
    assert f"video     {run.layout.videos}/p1_0.mp4" in listed.output
    assert f"data set  {tmp_path}/d: " in listed.output
    assert "remove the row" in listed.output
    assert (run.layout.videos / "p1_0.mp4").exists()
    removed = dispose("takedown", run.image(1), "--results", tmp_path / "results", "--yes")
    assert removed.exit_code == 0, removed.output
    assert not (run.layout.videos / "p1_0.mp4").exists()
    again = dispose(*command, "--to", tmp_path / "e")
    assert "  3 left out: taken_down" in again.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--split", "1/2"), "--split '1/2'"),
        (("--filter", "captoin == 'x'"), "did you mean `caption`"),
        (("--group", "person"), "--group person: the index has no such column"),
        (("--takedown", "none.txt"), "none.txt cannot be read"),
    ],
)
def test_wrong_options_are_one_line_before_anything_is_written(tmp_path, options, said):
    """The data set's folder is not even made."""
    run = crossed(tmp_path, 1, 1)
    command = ("export", run.run_dir, "--to", tmp_path / "d", "--layout", "parquet")
    result = dispose(*command, *options)
    assert isinstance(result.exception, ExportError)
    assert said in str(result.exception)
    assert not (tmp_path / "d").exists()


def test_a_missing_extra_is_said_before_anything_runs(tmp_path, monkeypatch):
    """By the name that installs it; signing needs one more."""
    run = FinishedRun(tmp_path)
    find_spec = importlib.util.find_spec
    missing = {"mlcroissant", "c2pa"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in missing else find_spec(name)
    )
    command = ("export", run.run_dir, "--to", tmp_path / "d", "--layout", "parquet")
    said = str(dispose(*command).exception)
    assert said == "export needs mlcroissant: pip install 'dispose-stages[export]'"
    (tmp_path / "c.pem").touch()
    signed = dispose(*command, "--sign", tmp_path / "c.pem", tmp_path / "c.pem")
    assert "mlcroissant and c2pa-python" in str(signed.exception)


def test_a_takedown_of_what_is_no_digest(tmp_path):
    """Neither a file nor 64 digits."""
    result = dispose("takedown", "abc", "--results", tmp_path)
    assert "'abc' is no SHA-256" in str(result.exception)
