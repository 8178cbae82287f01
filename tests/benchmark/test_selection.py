"""The best of a sweep: chosen by a score, kept as a view that holds links only."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from dispose_stages.benchmark import selection
from dispose_stages.benchmark.choice import choose
from dispose_stages.benchmark.selection import write_view
from dispose_stages.cli import cli
from dispose_stages.errors import ConfigError, DisposeError
from dispose_stages.export.plan import plan_export
from dispose_stages.export.settings import ExportSettings, Layout
from tests.export.finished_run import LICENCE, FinishedRun

SCORES = {"p0_0": (0.2, 0.9, None), "p0_1": (0.5, 0.5, 0.1), "p1_0": (None, None, None)}


@pytest.fixture
def run(tmp_path):
    """Three clips with three seeds each; the last clip could not be scored."""
    run = FinishedRun(tmp_path)
    for clip, values in SCORES.items():
        image, video = map(int, clip.removeprefix("p").split("_"))
        for seed, value in enumerate(values):
            columns = {
                "parameter_seed": seed,
                "reference_frame": None,
                "score_pck_010_body": value,
                "score_l1": value,
            }
            run.add(image, video, f"{clip}_seed{seed}", **columns, **LICENCE)
    run.write()
    return run


def dispose(*arguments):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    if isinstance(result.exception, DisposeError):
        raise result.exception
    return result


def chosen(choice):
    return [candidate.record["pair_id"] for _, candidate in choice.chosen()]


def test_the_best_of_every_group(run):
    """The highest where high is better, of equals the first; a group without values has none."""
    choice = choose(run.run_dir, "pck_010_body", ["reference", "driver"])
    assert chosen(choice) == ["p0_0_seed1", "p0_1_seed0"]
    assert len(choice.left_out) == 1
    assert chosen(choose(run.run_dir, "l1", ["reference", "driver"])) == [
        "p0_0_seed0",
        "p0_1_seed2",
    ]
    assert chosen(choose(run.run_dir, "pck_010_body", ["reference"])) == ["p0_0_seed1"]
    assert chosen(choose(run.run_dir, "pck_010_body", ["driver"], "lower"))[0] == "p0_0_seed0"


def test_the_view_holds_links_and_the_choice(run):
    """Videos resolve to the run's own; tables hold the chosen; the choice is on record."""
    result = dispose("select", run.run_dir, "--best", "pck_010_body")
    assert "p0_0_seed1" in result.output
    view = run.run_dir.with_name("first-best-pck_010_body")
    videos = sorted((view / "videos").glob("*.mp4"))
    assert [path.name for path in videos] == ["p0_0_seed1.mp4", "p0_1_seed0.mp4"]
    for path in videos:
        assert path.is_symlink()
        assert not path.readlink().is_absolute()
        assert path.resolve() == (run.layout.videos / path.name).resolve()
    assert pq.read_table(view / "index.parquet").column("pair_id").to_pylist() == [
        "p0_0_seed1",
        "p0_1_seed0",
    ]
    said = json.loads((view / "choice.json").read_text())
    assert (said["metric"], said["better"]) == ("pck_010_body", "higher")
    assert said["chosen"] == ["p0_0_seed1", "p0_1_seed0"]
    lines = list(csv.DictReader((view / "selected.csv").read_text().splitlines()))
    assert [(line["candidates"], line["without_value"]) for line in lines] == [
        ("3", "1"),
        ("3", "0"),
    ]
    grid = (view / "grid.html").read_text()
    assert grid.count("<figure") == 9
    assert grid.count("<b>chosen</b>") == 2
    assert "seed 2" in grid
    source = grid.partition('src="')[2].partition('"')[0]
    assert (view / source).is_file()


def test_the_view_becomes_a_data_set(run):
    """What is exported are the chosen ones."""
    dispose("select", run.run_dir, "--best", "pck_010_body")
    view = run.run_dir.with_name("first-best-pck_010_body")
    plan = plan_export(view, ExportSettings(layout=Layout.WEBDATASET))
    assert sum(len(shard.records) for shard in plan.shards) == 2


def contents(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("cut", ["table", "rename"])
def test_a_choice_that_is_killed_changes_nothing(run, monkeypatch, cut):
    """Neither the run nor the view of before; the next choice replaces that as a whole."""
    view = run.run_dir.with_name("first-best-l1")
    dispose("select", run.run_dir, "--best", "l1")
    before, made = contents(run.run_dir), contents(view)

    class Interrupted(BaseException):
        pass

    def dying(*_arguments, **_options):
        raise Interrupted

    choice = choose(run.run_dir, "l1", ["driver"])
    with monkeypatch.context() as patch:
        if cut == "table":
            patch.setattr(selection, "grid_html", dying)
        else:
            patch.setattr(Path, "rename", dying)
        with pytest.raises(Interrupted):
            write_view(run.run_dir, choice, view)
    assert contents(run.run_dir) == before
    assert contents(view) == made
    write_view(run.run_dir, choice, view)
    assert contents(view) != made
    assert contents(run.run_dir) == before
    assert [path.name for path in run.run_dir.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--best", "pck_010"], "no metric 'pck_010'; did you mean"),
        (["--best", "caption"], "no metric 'caption'"),
        (["--best", "parameter_seed"], "--highest or --lowest"),
        (["--best", "l1", "--per", "person,nothing"], "no column"),
        (["--best", "l1", "--to", "taken"], "no choice of `dispose select`"),
    ],
)
def test_choices_that_cannot_be(run, tmp_path, monkeypatch, arguments, what):
    """A typed error, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    before = contents(run.run_dir.parent)
    with pytest.raises(ConfigError, match=what):
        dispose("select", run.run_dir, *arguments)
    assert contents(run.run_dir.parent) == before
