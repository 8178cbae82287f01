"""Shards of about equal cost, where it is known what units cost."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispose_stages.batch import learning
from dispose_stages.batch.job import perform_shard
from dispose_stages.batch.learning import drivers_to_probe
from dispose_stages.batch.manifest import Row
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.prepare import prepare_run
from dispose_stages.batch.priors import Priors, frames_read, work
from dispose_stages.batch.sharding import ROUTE_BITS, cut, prefix_name, prefix_of, shard_among
from dispose_stages.batch.stats import JobStats
from dispose_stages.batch.unit import Result
from dispose_stages.config import STAGES, Parameters, load_config
from tests.batch.whole_run import StoringStage, compute, settings

COSTS = st.lists(
    st.tuples(st.integers(0, 2**ROUTE_BITS - 1), st.floats(0.1, 1000)), min_size=1, max_size=60
)
LENGTHS = {f"{name}.mp4": 48 * 2**i for i, name in enumerate("stuvwxyz")}
"""Frames of drivers: from two seconds to more than four minutes."""
SHARDS = {"minutes": 1, "seconds_per_unit": {"sample": 30, "mux": 5, "motion": 5}}
SECONDS_PER_FRAME = 0.5


def by_part(costs, parts):
    found = {}
    for route, seconds in costs:
        found.setdefault(prefix_of(shard_among(route, parts)), []).append(seconds)
    return found


@given(COSTS, st.floats(1, 2000))
def test_every_job_is_short_or_cannot_be_made_so(costs, seconds):
    """All parts hold a unit; one is longer only where one unit makes it so, or routes are equal."""
    parts = cut(costs, seconds, 1 << 20)
    found = by_part(costs, parts)
    assert set(found) == set(parts)
    for (bits, _), held in found.items():
        rest = sum(held) - max(held)
        assert sum(held) <= seconds + 1e-6 or rest <= seconds / 4 + 1e-6 or bits == 20


@given(COSTS, st.floats(1, 2000))
def test_parts_of_a_finer_stage_lie_inside_those_of_a_coarser(costs, seconds):
    """So that a shard waits for few others."""
    coarse, fine = cut(costs, seconds, 1 << 20), cut(costs, seconds / 3, 1 << 20)
    for bits, value in fine:
        assert any((b, value >> (bits - b)) in coarse for b in range(bits + 1))


@given(COSTS, st.tuples(st.integers(0, 2**ROUTE_BITS - 1), st.floats(0.1, 200)))
def test_a_unit_more_changes_one_part_or_halves_one(costs, more):
    """All parts of which it is no member stay as they are."""
    before, after = cut(costs, 600, 1 << 20), cut([*costs, more], 600, 1 << 20)
    holds = shard_among(more[0], after)
    bits, value = prefix_of(holds)
    old = {p for p in before if p[0] <= bits and value >> (bits - p[0]) == p[1]}
    inside = {p for p in before if p[0] > bits and p[1] >> (p[0] - bits) == value}
    assert len(old) + len(inside) <= 1 or more[1] > 150  # a long unit may keep its neighbours
    gone = before - after
    assert gone <= old | inside


@given(COSTS, st.integers(1, 30))
def test_there_are_never_more_parts_than_wanted(costs, maximum):
    """Jobs take longer then."""
    assert len(cut(costs, 1.0, maximum)) <= maximum


def test_a_pilot_joins_no_parts():
    """What was cut for the whole stays cut."""
    costs = [(i << 56, 100.0) for i in range(256)]
    whole = cut(costs, 200, 1024)
    assert cut(costs[:10], 10_000, 1024, whole) < whole
    assert len(cut(costs[:10], 10_000, 1024)) == 1


def test_names_tell_the_routes():
    """They are those of shards of equal number."""
    assert prefix_name((0, 0)) == "0-of-1"
    assert prefix_name((4, 9)) == "09-of-16"
    assert prefix_of("09-of-16") == (4, 9)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "ingest"])
def test_work_grows_with_what_there_is_to_do(stage):
    """Four times the pixels, ten times the frames, twice the steps; nothing for nothing."""
    plain = Row(2, "p", "i.png", "v.mp4", Parameters())
    role = {"pose": "pose_video", "score": "score_frames"}.get(stage, stage)

    def of(frames, **parameters):
        row = replace(plain, parameters=Parameters(**parameters))
        return work(row, role, {"v.mp4": (frames, 24.0)}, 1.0)

    base = of(1200)
    assert of(12000) / base == pytest.approx(1 if stage == "correspondence" else 10, rel=0.05)
    pixels = of(1200, resolution=1152) / base
    assert pixels == (1 if stage == "pose" else 4)
    steps = of(1200, num_inference_steps=50) / base
    assert steps == (2 if stage == "sample" else 1)
    assert of(1200, guidance_min=1, guidance_max=1) / base == (0.5 if stage == "sample" else 1)
    assert of(1) > 0


def test_frames_that_are_read():
    """Stride by the rate, start and limit, one frame at least."""
    assert frames_read(Parameters(), 100, 25.0) == 50
    assert frames_read(Parameters(), 100, 50.0) == 25
    assert frames_read(Parameters(max_frames=7), 100, 25.0) == 7
    assert frames_read(Parameters(start_frame=200), 100, 25.0) == 1


class Measured(StoringStage):
    """Says of drivers how long they are."""

    def commit(self, unit, artifact):
        found = super().commit(unit, artifact)
        if unit.params.get("kind") != "video" or unit.stage != "ingest":
            return found
        frames = LENGTHS[unit.source("media").name]
        return Result(key=found.key, digest=found.digest, facts=facts(frames))

    def find(self, unit):
        return None if unit.stage == "ingest" else super().find(unit)


def facts(frames):
    return {"kind": "video", "frames": frames, "fps": 24.0}


@pytest.fixture
def values(tmp_path, monkeypatch):
    """Three references, eight drivers of very different length."""
    monkeypatch.chdir(tmp_path)
    images = [f"{letter}.png" for letter in "abc"]
    return settings(tmp_path, images, LENGTHS, shards=SHARDS, compute={"device": "auto"})


def measure(prepared, gpu="card", seconds_per_frame=SECONDS_PER_FRAME):
    """Statistics as if every frame had taken as long on such a GPU."""
    lengths = {row.units["sample"]: LENGTHS[row.video_name] for row in prepared.plan.rows}
    for stage in ("sample", "mux"):
        for name in prepared.plan.shards(stage):
            path = prepared.layout.stats(stage, name)
            stats = JobStats.read(path)
            for attempt in stats.attempts:
                attempt.gpu, attempt.device = gpu, "cuda"
            for unit in stats.seconds:
                if stage == "sample":
                    stats.seconds[unit] = lengths[unit] / 2 * seconds_per_frame
            stats.write(path)


def job_seconds(plan):
    lengths = {row.units["sample"]: LENGTHS[row.video_name] for row in plan.rows}
    return {
        name: sum(lengths[unit.id] / 2 * SECONDS_PER_FRAME for unit in units)
        for name, units in plan.shards("sample").items()
    }


def test_a_run_learns_from_the_one_before(values):
    """Jobs come out even, ids stay; what was learned is on record, and no more is asked."""
    first = compute({**values, "run": "first"}, code=Measured)
    assert first.priors == Priors()
    measure(first)
    second = prepare_run({**values, "run": "second"})
    assert second.priors.gpu == "card"
    assert {path.rsplit("/", 1)[-1]: n for path, (n, _) in second.priors.drivers.items()} == LENGTHS
    equal, even = job_seconds(first.plan), job_seconds(second.plan)
    longest = max(LENGTHS.values()) / 2 * SECONDS_PER_FRAME
    assert max(equal.values()) > 1.5 * longest
    assert max(even.values()) <= longest + 60 / 4
    assert all(list(second.plan.units[stage]) == list(first.plan.units[stage]) for stage in STAGES)
    second.commit()
    second.release()
    for path in first.layout.root.glob("stats/*/*.json"):
        path.unlink()
    # As long as nothing is computed it learns anew; then it does not.
    assert prepare_run({**values, "run": "second"}).priors == Priors()
    write_anything(second)
    again = prepare_run({**values, "run": "second"})
    assert again.shards == second.shards
    assert again.priors == second.priors
    third = compute({**values, "run": "second"}, code=Measured)
    assert str(RunOutcomes.read(third.layout.root).counts()) == "24 of 24 rows delivered"


def write_anything(prepared):
    path = prepared.layout.stats("pose", "0-of-1")
    JobStats().write(path)


def test_kinds_of_gpus_are_not_mixed(values):
    """The commonest counts, or the one that is asked for; what both worked on does not."""
    small = {**values, "pilot": {"sample": 12}}
    measure(compute({**small, "run": "slow"}, code=Measured), "slow card", 5.0)
    measure(compute({**values, "run": "fast", "store": "other"}, code=Measured), "fast card")
    asked = {"shards": {**SHARDS, "gpu": "slow card"}}
    common, wanted = prepare_run(values).priors, prepare_run({**values, **asked}).priors
    assert (common.gpu, wanted.gpu) == ("fast card", "slow card")
    assert wanted.seconds["sample"] == pytest.approx(10 * common.seconds["sample"], rel=0.3)
    none = prepare_run({**values, "shards": {**SHARDS, "gpu": "no such card"}})
    assert none.priors == Priors()
    assert prepare_run({**values, "shards": {**SHARDS, "measured": False}}).priors == Priors()
    assert prepare_run({**values, "compute": {"device": "cpu"}}).priors.gpu in {"", "cpu"}


def test_a_run_that_was_planned_without_keeps_its_shards(values):
    """Whatever was measured since."""
    old = compute({**values, "run": "old"}, code=Measured)
    old.layout.priors.unlink()  # as the version before left it
    measure(old)
    again = prepare_run({**values, "run": "old"})
    assert again.shards == old.shards
    assert not again.stale


def test_the_rest_is_cut_as_the_pilot_was_measured(values):
    """What the pilot delivered stays; every other unit is computed once."""
    pilot = compute({**values, "pilot": {"sample": 10}}, code=Measured)
    measure(pilot)
    before = Path("calls.log").read_text().splitlines()
    whole = compute(values, code=Measured)
    assert whole.priors.gpu == "card"
    assert max(job_seconds(whole.plan).values()) <= max(LENGTHS.values()) / 4 + 60 / 4
    called = [line for line in Path("calls.log").read_text().splitlines() if line[:6] != "ingest"]
    assert len(called) == len(set(called)) > len(before)
    assert json.loads(whole.layout.priors.read_text())["pilot"] is False


def test_unusable_records_teach_nothing(values):
    """Damage in a run beside this one, or in the record itself, stops no planning."""
    first = compute({**values, "run": "first"}, code=Measured)
    measure(first)
    first.layout.pairs.write_text("{")
    assert prepare_run(values).priors == Priors()
    first.layout.priors.write_text('{"format": "dispose-priors"}')
    assert prepare_run({**values, "run": "first"}).priors == Priors()


def test_drivers_are_looked_at_first_where_that_is_worth_it(values, monkeypatch):
    """Of a large run that has not begun, once anything was measured; then all is known."""
    monkeypatch.setattr(learning, "MANY_ROWS", 24)
    new = {**values, "run": "new"}
    assert drivers_to_probe(load_config(new)) == 0
    measure(compute({**values, "run": "first", "pilot": {"first": 5}}, code=Measured))
    unknown = drivers_to_probe(load_config(new))
    assert unknown == len(LENGTHS) - 5
    prepared = prepare_run(new)
    prepared.commit()
    for name in prepared.plan.shards("ingest"):
        perform_shard("ingest", prepared.layout.root, name, stage=Measured("ingest"))
    prepared.release()
    assert drivers_to_probe(load_config(new)) == 0
    assert len(prepare_run(new).priors.drivers) == len(LENGTHS)
    compute(new, code=Measured)
    assert drivers_to_probe(load_config(new)) == 0
    monkeypatch.setattr(learning, "MANY_ROWS", 25)
    assert drivers_to_probe(load_config({**new, "run": "small"})) == 0
