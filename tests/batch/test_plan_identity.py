"""Units, shards and keys of large plans, as the first version made them.

Rows of ``compat: corrected`` are not among them: what that corrects has grown (parity Q18).
"""

import hashlib

import pytest

from dispose_stages.batch.ledger import Shard, artifact_key
from dispose_stages.batch.manifest import Manifest, Row
from dispose_stages.batch.plan import build_plan, upstream_shards
from dispose_stages.batch.priors import Priors
from dispose_stages.config import STAGES, Parameters, load_config

FIRST = {
    "audio": {
        "counts": {
            "correspondence": 1,
            "ingest": 1,
            "motion": 1,
            "mux": 4,
            "pose": 1,
            "sample": 32,
        },
        "keys": {
            "correspondence": "48bac1717a6abbc8",
            "ingest": "bb40995fc60b3fd4",
            "motion": "75c3a5dbf87b5b9c",
            "mux": "65bf9aec4cdb07fb",
            "pose": "d1cdf462bcf1bbb4",
            "sample": "78b0f87fe547529c",
        },
        "units": {
            "correspondence": "a08bded21f03dfec",
            "ingest": "2434a3a132c42a6f",
            "motion": "781fae5636b08653",
            "mux": "6eafcac13e310bb9",
            "pose": "6929094bae1bc60e",
            "sample": "ea306361e753d97b",
        },
    },
    "grid": {
        "counts": {
            "correspondence": 1,
            "ingest": 1,
            "motion": 16,
            "mux": 64,
            "pose": 1,
            "sample": 512,
        },
        "keys": {
            "correspondence": "9c9c4046b4a7b532",
            "ingest": "7e7f6b3ae83290f2",
            "motion": "733ed6e25bea2328",
            "mux": "64e2ec7113ecaaf5",
            "pose": "f8c7641ef8415fd6",
            "sample": "73c6274098af332b",
        },
        "units": {
            "correspondence": "556345c9443e207f",
            "ingest": "d75040aa6db85a10",
            "motion": "eebfdeef3517bdc9",
            "mux": "219eab71c13a932e",
            "pose": "ab1e4660d24fbcb8",
            "sample": "0da6815d96134cc6",
        },
    },
    "seeds": {
        "counts": {
            "correspondence": 1,
            "ingest": 1,
            "motion": 1,
            "mux": 16,
            "pose": 1,
            "sample": 256,
        },
        "keys": {
            "correspondence": "0228995d424a85a5",
            "ingest": "2abe5b959b512e4a",
            "motion": "a28e587ee7220338",
            "mux": "625f5afa61be4c0a",
            "pose": "4c9b536153fd3e7b",
            "sample": "4c543c08257c4dab",
        },
        "units": {
            "correspondence": "eb2d34d5e15da3f4",
            "ingest": "727f5578dd14c476",
            "motion": "29a375f3a2dc6b34",
            "mux": "f7addbafe1ff3f1e",
            "pose": "d00d8b2e1914e84c",
            "sample": "dd36c13b6b81c0f0",
        },
    },
}
"""Per plan and stage: number of shards; beginning of the SHA-256 of all unit ids, of all keys."""
CONFIGURATIONS = {
    "grid": {},
    "audio": {"encoding": {"copy_audio": True, "png_frames": True}},
    "seeds": {
        "models": "official",
        "shards": {"minutes": 5},
        "sampling": {"precision": "bf16"},
        "motion": {"person": "largest"},
    },
}
SHARD_FILES = {"grid": "78cce04a7efb9582", "audio": "74a413279a7062fd", "seeds": "4703338a99b071ac"}
"""Beginning of the SHA-256 of names and texts of all shard files, revisions being 1."""
SIZES = {"grid": (100, 100, 1), "audio": (20, 20, 1), "seeds": (3, 3, 50)}


def parameters(image, video, seed):
    """A row's, of which some differ from the default in one thing or another."""
    often = (
        ("guidance_max", 3.0, (image + video) % 7 == 3),
        ("correspondence_guidance", False, (image * video) % 11 == 5),
        ("sample_stride", 3, video % 17 == 2),
        ("max_frames", 40, video % 19 == 4),
        ("resolution", 512, image % 23 == 6),
        ("fps", 8.0, image % 29 == 7),
    )
    return Parameters(seed=seed, **{name: value for name, value, here in often if here})


def rows(images, videos, seeds):
    return tuple(
        Row(2, f"i{i}_v{v}_s{s}", f"/m/i{i}.png", f"/m/v{v}.mp4", parameters(i, v, s))
        for i in range(images)
        for v in range(videos)
        for s in range(seeds)
    )


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def keys(plan):
    """With made-up digests of sources, weights and upstream artifacts, all revisions being 1."""
    found, digests = {stage: [] for stage in STAGES}, {}
    for stage in STAGES:
        for unit in plan.units[stage].values():
            upstream = {role: digests[place] for role, place in unit.upstream.items()}
            key = artifact_key(unit, revision=1, weights=sha256("w" + stage), upstream=upstream)
            found[stage].append(key)
            content = "src" + unit.sources["media"] if stage == "ingest" else "content" + key
            digests[stage, unit.id] = sha256(content)
    return found


def digest(texts):
    return sha256("\n".join(texts))[:16]


@pytest.mark.parametrize("name", FIRST)
def test_ids_shards_and_keys_are_those_of_the_first_version(name):
    """A store filled by any version since stays valid; what came later has a default that hides."""
    manifest = Manifest(rows(*SIZES[name]), ())
    config = load_config(CONFIGURATIONS[name])
    plan = build_plan(config, manifest, stamps={"pose": {"*": "abc"}})
    stages = FIRST[name]["counts"]
    made = {
        "counts": {stage: plan.shard_counts[stage] for stage in stages},
        "units": {stage: digest(plan.units[stage]) for stage in stages},
        "keys": {stage: digest(each) for stage, each in keys(plan).items() if stage in stages},
    }
    assert made == FIRST[name]


@pytest.mark.parametrize("name", FIRST)
def test_shard_files_are_those_of_the_version_before_priors(name):
    """Where nothing is known of the units' cost, runs keep their jobs."""
    manifest = Manifest(rows(*SIZES[name]), ())
    plan = build_plan(load_config(CONFIGURATIONS[name]), manifest, priors=Priors())
    texts = [
        f"{stage}/{shard} {Shard(stage, shard, 1, tuple(units), of(plan, units)).to_json()}"
        for stage in STAGES
        for shard, units in plan.shards(stage).items()
    ]
    assert digest(texts) == SHARD_FILES[name]


def of(plan, units):
    return {stage: tuple(names) for stage, names in upstream_shards(plan, units).items()}
