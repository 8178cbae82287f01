from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from dispose_stages.sample.shortcuts import StepKind
from tests.bench.effort import __main__ as command
from tests.bench.effort import costs, quality
from tests.bench.effort.picture import Point, front, plot
from tests.bench.traffic.steps import SMALL


def test_costs_are_those_of_what_is_run() -> None:
    """One half costs half; a step that is not whole costs less, and not nothing."""
    whole = costs.step_cost(StepKind(), SMALL)
    half = costs.step_cost(StepKind(guided=False), SMALL)
    outermost = costs.step_cost(StepKind(whole=False), SMALL)
    assert half.flop == pytest.approx(whole.flop / 2, rel=0.01)
    assert 0.1 * whole.flop < outermost.flop < 0.6 * whole.flop
    assert 0 < outermost.seconds < whole.seconds
    both = costs.clip_cost([StepKind(leaves=True), StepKind(whole=False)], SMALL)
    assert both.flop == pytest.approx(whole.flop + outermost.flop)


def test_the_line_leads_along_what_no_other_beats() -> None:
    """Dearer and worse is off it; of equal cost the better one is on it."""
    points = [Point("a", 0.5, 30), Point("b", 0.5, 40), Point("c", 0.7, 35), Point("d", 0.2, 20)]
    assert [point.name for point in front(points)] == ["d", "b"]
    picture = plot(points)
    assert picture.count("<circle") == 4
    assert "<text" in picture


def test_the_command_writes_table_and_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one pair, with a few steps for 25; the exact clip is equal to itself."""
    short = {"num_inference_steps": 2}
    monkeypatch.setattr(quality, "REFERENCE", short)
    monkeypatch.setattr(command, "REFERENCE", short)
    variants = {"exact": short, "one": {"num_inference_steps": 1}}
    monkeypatch.setattr(command, "variants", lambda: variants)
    monkeypatch.setattr(command, "named", dict)
    monkeypatch.setattr(command, "clip_cost", partial(costs.clip_cost, size=SMALL))
    (tmp_path / "performance.md").write_text("<!-- effort: begin -->\n<!-- effort: end -->\n")
    command.main(
        [
            "--pairs",
            "1",
            "--frames",
            "4",
            "--write",
            str(tmp_path),
            "--json",
            str(tmp_path / "x.json"),
        ]
    )
    measured = json.loads((tmp_path / "x.json").read_text())
    assert measured["exact"]["frames dB"] == 100
    assert measured["one"]["FLOPs"] == 0.5
    assert 5 < measured["one"]["frames dB"] < 100
    document = (tmp_path / "performance.md").read_text()
    assert "| one | 50 % |" in document
    assert "networks of `sample`: " in document
    assert "<svg" in (tmp_path / "effort.svg").read_text()
