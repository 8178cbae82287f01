"""Part of a manifest in the run of the whole."""

import json

import pytest

from dispose_stages.batch.needed import needed_artifacts
from dispose_stages.batch.outcomes import PairStatus, RunOutcomes
from dispose_stages.batch.prepare import prepare_run
from dispose_stages.batch.run_files import pairs_text
from dispose_stages.config import STAGES
from dispose_stages.errors import ConfigError, ManifestError
from tests.batch.whole_run import calls, compute, settings

IMAGES = [f"{letter}.png" for letter in "abcd"]
VIDEOS = [f"{letter}.mp4" for letter in "vwxyz"]


@pytest.fixture
def values(tmp_path, monkeypatch):
    """A manifest of 4 x 5 pairs; several jobs per stage of pairs."""
    monkeypatch.chdir(tmp_path)
    shards = {"minutes": 1, "seconds_per_unit": {"sample": 40, "mux": 20, "motion": 10}}
    return settings(tmp_path, IMAGES, VIDEOS, shards=shards)


def piloted(values, **pilot):
    return {**values, "pilot": pilot}


def pairs_of(prepared):
    return [unit.id for units in prepared.plan.shards("mux").values() for unit in units]


def test_a_pilot_computes_what_its_rows_need_and_the_rest_follows_once(values):
    """Ten rows, then twenty; every unit is computed exactly once, under the same ids and keys."""
    whole = prepare_run(values)
    pilot = compute(piloted(values, first=7))
    first = calls()
    assert len([line for line in first if line.startswith("mux ")]) == 7
    outcomes = RunOutcomes.read(pilot.layout.root)
    assert str(outcomes.counts()) == "7 of 7 rows delivered, 13 held back"
    delivered = {pair: outcomes.results["mux"][pair] for pair in outcomes.results["mux"]}
    done = compute(values)
    rest = calls()
    assert len(set(first + rest)) == len(first + rest) == sum(map(len, done.plan.units.values()))
    assert {s: set(units) for s, units in done.plan.units.items()} == {
        s: set(units) for s, units in whole.plan.units.items()
    }
    after = RunOutcomes.read(done.layout.root)
    assert str(after.counts()) == "20 of 20 rows delivered"
    assert {pair: after.results["mux"][pair] for pair in delivered} == delivered


def test_a_pilot_after_the_whole_changes_nothing(values):
    """Neither ledgers nor what the store must keep nor the jobs' names; only the rows' page."""
    done = compute(values)
    needed = needed_artifacts(done.layout)
    again = prepare_run(piloted(values, only=["a_v"]) | {"pilot": {"first": 1}})
    assert again.shards == done.shards
    assert again.stale == ()
    again.commit()
    again.release()
    assert needed_artifacts(done.layout) == needed
    assert str(RunOutcomes.read(done.layout.root).counts()) == "20 of 20 rows delivered"


def test_one_pilot_after_another_keeps_the_former(values):
    """What the first has delivered stays delivered, and in the second's plan."""
    compute(piloted(values, first=2))
    calls()
    compute(piloted(values, sample=3, seed=5))
    outcomes = RunOutcomes.read(prepare_run(values).layout.root)
    counts = outcomes.counts()
    assert 3 <= counts.delivered <= 5
    assert counts.delivered + counts.held == 20
    assert all(o.status is not PairStatus.PENDING for o in outcomes.pair_outcomes())


def test_a_larger_sample_includes_the_smaller(values):
    """And another seed draws others; new rows of the manifest move few."""
    small, large = (set(pairs_of(prepare_run(piloted(values, sample=n)))) for n in (4, 9))
    assert small < large
    assert set(pairs_of(prepare_run(piloted(values, sample=9, seed=1)))) != large


def test_changed_parameters_hold_the_other_rows_back(values):
    """Of a finished run, a pilot with another guidance scale redoes its own rows only."""
    compute(values)
    calls()
    compute(piloted(values, first=3) | {"parameters": {"guidance_max": 3.0}})
    assert [line.split()[0] for line in calls()] == ["mux"] * 3 + ["sample"] * 3


def test_the_plan_of_a_whole_run_says_nothing_of_pilots(values):
    """So that its files are those that were written before there were any."""
    prepared = prepare_run(values)
    pairs = json.loads("".join(pairs_text(prepared.plan.rows)))["pairs"]
    assert not any("held" in pair for pair in pairs)
    assert set(prepared.plan.units) == set(STAGES)


@pytest.mark.parametrize(
    ("pilot", "error", "what"),
    [
        ({"only": ["nobody"]}, ManifestError, "no pair 'nobody'"),
        ({"only": ["a_v"], "first": 2}, ConfigError, "give one of only, first and sample"),
        ({"first": 0}, ConfigError, "pilot.first"),
        ({"sample": "many"}, ConfigError, "pilot.sample"),
        ({"seed": -1}, ConfigError, "pilot.seed"),
    ],
)
def test_pilots_that_cannot_be(values, pilot, error, what):
    """Each is said in one line, before anything is planned."""
    with pytest.raises(error, match=what):
        prepare_run(piloted(values, **pilot))


def test_a_rejected_row_cannot_be_a_pilot(values, tmp_path):
    """The reason why it was set aside is the answer."""
    manifest = tmp_path / "media/pairs.csv"
    lines = manifest.read_text().splitlines()
    rows = [f"p{n},{line}" for n, line in enumerate(lines[1:])]
    manifest.write_text("\n".join([f"pair_id,{lines[0]}", *rows, "odd,no.png,v.mp4"]) + "\n")
    with pytest.raises(ManifestError, match=r"pair odd cannot run: line 22: .*no\.png"):
        prepare_run(piloted(values, only=["odd"]))
