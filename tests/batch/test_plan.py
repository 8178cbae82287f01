from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispose_stages.batch.manifest import Manifest, Row
from dispose_stages.batch.plan import build_plan, upstream_shards
from dispose_stages.batch.sharding import settle_shard_count, shard_count, shard_name
from dispose_stages.config import STAGES, Parameters, load_config


def row(image, video, pair_id=None, **parameters):
    name = pair_id or f"{image}_{video}"
    return Row(2, name, f"/m/{image}.png", f"/m/{video}.mp4", Parameters(**parameters))


def grid(images, videos, **parameters):
    return [row(f"i{i}", f"v{v}", **parameters) for i in range(images) for v in range(videos)]


def plan_of(rows, config=None, **options):
    return build_plan(load_config(config or {}), Manifest(tuple(rows), ()), **options)


def sizes(plan):
    return {stage: len(units) for stage, units in plan.units.items() if units}


def test_units_are_shared_by_rows_that_agree():
    """4 images x 5 videos: files and poses once each, pairs twenty times."""
    counts = {"ingest": 9, "pose": 9, "motion": 20, "correspondence": 4, "sample": 20, "mux": 20}
    assert sizes(plan_of(grid(4, 5))) == counts


@pytest.mark.parametrize(
    ("override", "again"),
    [
        ({"seed": 1}, {"sample": 1, "mux": 1}),
        ({"guidance_max": 3.0}, {"sample": 1, "mux": 1}),
        ({"num_inference_steps": 3}, {"sample": 1, "mux": 1}),
        ({"correspondence_guidance": False}, {"sample": 1, "mux": 1}),
        ({"control_scale": 0.5}, {"sample": 1, "mux": 1}),
        ({"motion_bucket_id": 30}, {"sample": 1, "mux": 1}),
        ({"condition_fps": 24}, {"sample": 1, "mux": 1}),
        ({"fps": 8.0}, {"mux": 1}),
        ({"decode_chunk_size": 4}, {"mux": 1}),
        ({"decode_context": 2}, {"mux": 1}),
        ({"sample_stride": 3}, {"pose": 1, "motion": 1, "sample": 1, "mux": 1}),
        ({"max_frames": 9}, {"pose": 1, "motion": 1, "sample": 1, "mux": 1}),
        (
            {"resolution": 512},
            {"pose": 1, "correspondence": 1, "motion": 1, "sample": 1, "mux": 1},
        ),
        ({"compat": "corrected"}, {"motion": 1, "sample": 1, "mux": 1}),
    ],
)
def test_an_override_redoes_only_the_stages_that_read_it(override, again):
    """A second row that differs in one parameter shares everything else with the first."""
    both = plan_of([row("i", "v"), row("i", "v", "other", **override)])
    assert sizes(both) == {
        stage: {"ingest": 2, "pose": 2}.get(stage, 1) + again.get(stage, 0)
        for stage in STAGES
        if stage != "score"  # nothing unless it is asked for
    }


def test_a_file_used_as_image_and_video_is_looked_at_as_both():
    """What a file is expected to be is part of the question."""
    rows = [Row(2, "p", "/m/x.gif", "/m/x.gif", Parameters())]
    kinds = [unit.params["kind"] for unit in plan_of(rows).units["ingest"].values()]
    assert kinds == ["image", "video"]


def test_correspondence_is_read_only_where_it_guides():
    """A pair without correspondence guidance does not wait for it, nor fail with it."""
    plan = plan_of([row("i", "v", correspondence_guidance=False)])
    (unit,) = plan.units["sample"].values()
    assert set(unit.upstream) == {"media", "motion"}


def test_the_plan_does_not_depend_on_the_order_of_rows():
    """Identities, shards and their order follow from content."""
    rows = grid(5, 7)
    config = {"shards": {"minutes": 1}}
    first, second = plan_of(rows, config), plan_of(reversed(rows), config)
    for stage in STAGES:
        one = {name: [u.id for u in units] for name, units in first.shards(stage).items()}
        two = {name: [u.id for u in units] for name, units in second.shards(stage).items()}
        assert one == two


def test_batch_sizes_and_places_are_no_part_of_a_unit():
    """What cannot change numbers does not change identities."""
    other = {
        "pose": {"batch_size": 1},
        "motion": {"decoder_batch": 1},
        "correspondence": {"unet_batch": 1},
        "compute": {"threads": 1},
        "sampling": {"checkpoint_every": 1, "tile_batch": 2},
        "results": "elsewhere",
        "store": "elsewhere",
    }
    rows = grid(2, 2)
    for stage in STAGES:
        assert list(plan_of(rows).units[stage]) == list(plan_of(rows, other).units[stage])


@pytest.mark.parametrize(
    ("knob", "default"),
    [
        ({"solver": "dpmpp_2m"}, {"solver": "euler"}),
        ({"guidance_interval": [0.1, 20.0]}, {"guidance_interval": None}),
        ({"cache_interval": 2}, {"cache_interval": 1}),
        ({"effort": "draft"}, {"effort": "exact"}),
    ],
)
def test_shortcuts_are_part_of_a_clip_where_they_are_taken(knob, default):
    """Of its unit and those below; at their defaults neither ids nor parameters tell of them."""
    plain = plan_of([row("i", "v")])
    assert plan_of([row("i", "v")], {"sampling": default}).units == plain.units
    (unit,) = plain.units["sample"].values()
    assert not {*knob, "effort"} & unit.params.keys()
    changed = plan_of([row("i", "v")], {"sampling": knob})
    same = [stage for stage in STAGES if changed.units[stage].keys() == plain.units[stage].keys()]
    assert same == ["ingest", "pose", "motion", "correspondence", "mux", "score"]
    (short,) = changed.units["sample"].values()
    assert short.params.keys() - unit.params.keys()
    assert "effort" not in short.params
    (video,) = changed.units["mux"].values()
    assert ("sample", short.id) in video.upstream.values()


def test_every_unit_is_in_exactly_one_shard():
    """Nothing is lost and nothing computed twice."""
    plan = plan_of(grid(12, 12), {"shards": {"minutes": 1}})
    for stage in STAGES:
        found = Counter(u.id for units in plan.shards(stage).values() for u in units)
        assert found == Counter(list(plan.units[stage]))
        for name, units in plan.shards(stage).items():
            assert all(plan.shard_of(stage, unit.id) == name for unit in units)
    assert len(plan.shards("sample")) > 50


def test_adding_rows_changes_few_shards():
    """Ten rows more touch at most ten shards of a stage with 128."""
    rows = grid(40, 40)
    config = {"shards": {"minutes": 20, "maximum": 128}}
    before, after = plan_of(rows[:-10], config), plan_of(rows, config)
    assert before.shard_counts == after.shard_counts
    old, new = before.shards("sample"), after.shards("sample")
    changed = [
        name for name in new if [u.id for u in new[name]] != [u.id for u in old.get(name, ())]
    ]
    assert 0 < len(changed) <= 10


def test_pair_stages_need_few_shards_of_one_another():
    """Shards of motion, sample and mux nest, because the route is the same."""
    plan = plan_of(grid(20, 20), {"shards": {"minutes": 5}})
    for name, units in plan.shards("mux").items():
        upstream = upstream_shards(plan, units)
        ratio = plan.shard_counts["sample"] // plan.shard_counts["mux"]
        assert len(upstream["sample"]) <= max(1, ratio), name


def test_stamps_mark_all_units_or_single_ones():
    """A unit's own token comes before that of its stage."""
    rows = grid(1, 2)
    chosen = next(iter(plan_of(rows).units["sample"]))
    plan = plan_of(rows, stamps={"sample": {"*": "all", chosen: "one"}})
    stamps = {unit.id: unit.stamp for unit in plan.units["sample"].values()}
    assert stamps.pop(chosen) == "one"
    assert set(stamps.values()) == {"all"}
    assert {unit.stamp for unit in plan.units["motion"].values()} == {""}


@given(st.integers(0, 2**64 - 1), st.integers(0, 12))
def test_finer_shards_lie_inside_coarser_ones(route, bits):
    """Doubling the number of shards splits each in two."""
    coarse = int(shard_name(route, 1 << bits).split("-")[0])
    fine = int(shard_name(route, 2 << bits).split("-")[0])
    assert fine // 2 == coarse


@given(st.integers(0, 10**6), st.floats(0.01, 1000), st.floats(0.1, 600), st.integers(1, 65536))
def test_shard_count_is_a_power_of_two_within_bounds(units, seconds, minutes, maximum):
    """Never more jobs than units or the maximum; short enough where the maximum allows."""
    count = shard_count(units, seconds, minutes, maximum)
    assert count & (count - 1) == 0
    assert 1 <= count <= max(1, min(units, maximum))
    assert 2 * count > min(units, maximum) or units * seconds / count <= minutes * 60


@pytest.mark.parametrize(
    ("wanted", "previous", "settled"),
    [(8, None, 8), (8, 4, 4), (8, 16, 16), (8, 2, 8), (8, 32, 8), (8, 6, 8), (1, 0, 1)],
)
def test_shard_counts_do_not_flutter(wanted, previous, settled):
    """The previous number stays unless it is off by more than two, or no power of two."""
    assert settle_shard_count(wanted, previous) == settled


def test_many_seeds_of_one_clip_run_side_by_side():
    """A sweep over seeds spreads over the shards, though all its rows share one motion unit."""
    plan = plan_of([row(0, 0, pair_id=f"s{seed}", seed=seed) for seed in range(512)])
    shards = [len(units) for units in plan.shards("sample").values()]
    assert len(plan.units["motion"]) == 1
    assert len(shards) == plan.shard_counts["sample"] >= 8
    assert max(shards) < 4 * min(shards)


def test_no_features_where_nobody_reads_them():
    """Without correspondence guidance the reference's features are not planned."""
    plan = plan_of([row(0, 0, correspondence_guidance=False)])
    assert not plan.units["correspondence"]


@pytest.mark.parametrize(
    "later", [{"control_scale": 1.0}, {"motion_bucket_id": 127}, {"condition_fps": 7}]
)
def test_a_parameter_that_came_later_is_not_there_at_its_default(later):
    """Neither ids nor parameters, hence no keys, of plans without it change."""
    plain, named = plan_of([row("i", "v")]), plan_of([row("i", "v", **later)])
    assert named.units == plain.units
    (unit,) = plain.units["sample"].values()
    assert not later.keys() & unit.params.keys()
