import json
from dataclasses import asdict, replace

import pytest

from dispose_stages.atomic import canonical_json
from dispose_stages.batch.ledger import Ledger, Shard, artifact_key
from dispose_stages.batch.manifest import Row
from dispose_stages.batch.run_files import pairs_text
from dispose_stages.batch.unit import Result, Status, Unit
from dispose_stages.config import Parameters
from dispose_stages.errors import Reason, StoreError

UNIT = Unit(
    stage="motion",
    id="u1",
    label="a + b",
    route=2**64 - 1,
    params={"resolution": 576, "max_frames": None, "fps": 15.0},
    sources={"image": "/data/ä.png"},
    upstream={"pose": ("pose", "p1")},
    stamp="t",
)
ENTRIES = {
    "b": Result(Status.DONE, key="k", digest="d", facts={"frames": 3, "fps": 0.0}),
    "a": Result(Status.FAILED, reason=Reason.OUT_OF_MEMORY, message="x"),
    "c": Result(Status.BLOCKED, reason=Reason.OUT_OF_MEMORY, origin="pose/p"),
}


def write(tmp_path, text):
    path = tmp_path / "file.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_ledger_comes_back_as_written(tmp_path):
    """All fields survive, zero facts included."""
    ledger = Ledger("motion", "0-of-1", ENTRIES)
    assert Ledger.read(write(tmp_path, ledger.to_json())) == ledger


def test_equal_outcomes_give_equal_bytes():
    """The order in which units ended does not show."""
    turned = dict(reversed(ENTRIES.items()))
    assert Ledger("m", "s", ENTRIES).to_json() == Ledger("m", "s", turned).to_json()


def test_shard_comes_back_as_written(tmp_path):
    """Units keep their order and every field, a 64-bit route included."""
    shard = Shard("motion", "1-of-2", 3, (UNIT, replace(UNIT, id="u0")), {"pose": ("0-of-1",)})
    assert Shard.read(write(tmp_path, shard.to_json())) == shard


ODD = 'a"b\\c\nd\x1f\u2028é😀/\x7f'


def test_shard_text_is_canonical_json():
    """Written field by field, as the one encoder would write it; whatever a path may hold."""
    odd = replace(UNIT, id=ODD, label=ODD, stamp=ODD, sources={ODD: ODD, "z": "", "b": ODD})
    odd = replace(odd, upstream={ODD: (ODD, ODD), "b": ("m", "u"), "a": ("m", "u")})
    text = Shard(ODD, ODD, 3, (UNIT, odd, replace(UNIT, sources={}, upstream={})), {}).to_json()
    assert canonical_json(json.loads(text)) + "\n" == text
    planned = ("stage", "id", "label", "route", "params", "sources", "stamp")
    assert [[each[name] for name in planned] for each in json.loads(text)["units"][:2]] == [
        [getattr(unit, name) for name in planned] for unit in (UNIT, odd)
    ]


def test_text_of_pairs_is_canonical_json():
    """A row to a line; rows share the text of their parameters only where these are one object."""
    first, second = Parameters(seed=1), Parameters(seed=2)
    rows = [
        Row(2, "a", ODD, ODD, first, {"note": ODD}, {"pose": "u"}),
        Row(3, "b", "i", "v", first, reference_frame=0, truth_video=ODD),
        Row(4, "c", "i", "v", second, held=True),
        Row(5, "d", "i", "v", first),
    ]
    lines = [line.removesuffix(",") for line in "".join(pairs_text(rows)).split("\n")[1:5]]
    assert lines == [
        canonical_json(
            {
                name: value
                for name, value in asdict(row).items()
                if name not in {"held", "parameters"}
            }
            | {"parameters": row.parameters.model_dump()}
            | ({"held": True} if row.held else {})
        )
        for row in rows
    ]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "damaged"),
        ("[" * 100_000, "damaged"),
        ('{"format": NaN}', "damaged"),
        ("[]", "not a dispose-ledger"),
        ('{"format": "dispose-shard", "version": 1}', "not a dispose-ledger"),
        ('{"format": "dispose-ledger", "version": 1}', "version 1, this program reads 2"),
        ('{"format": "dispose-ledger"}', "version None"),
        ('{"format": "dispose-ledger", "version": 2}', "damaged"),
        (
            '{"format": "dispose-ledger", "version": 2, "stage": "a", "shard": "b", '
            '"units": {"u": {"status": "odd"}}}',
            "damaged",
        ),
        (
            '{"format": "dispose-ledger", "version": 2, "stage": "a", "shard": "b", '
            '"units": {"u": {"status": "done", "new": 1}}}',
            "damaged",
        ),
    ],
)
def test_unusable_files_are_named(tmp_path, text, match):
    """A file of another kind, version or content is an error that names it."""
    path = write(tmp_path, text)
    with pytest.raises(StoreError, match=match) as caught:
        Ledger.read(path)
    assert str(path) in str(caught.value)


def test_absent_ledger_is_an_error(tmp_path):
    """There is no empty default."""
    with pytest.raises(StoreError, match="no such file"):
        Ledger.read(tmp_path / "none.json")


def key(unit=UNIT, revision=1, weights="w", **upstream):
    return artifact_key(
        unit, revision=revision, weights=weights, upstream=upstream or {"pose": "d"}
    )


def test_everything_that_decides_the_numbers_enters_the_key():
    """Parameters, revision, weights, upstream content and the stamp each change it."""
    keys = {
        key(),
        key(replace(UNIT, params={**UNIT.params, "resolution": 512})),
        key(replace(UNIT, stage="sample")),
        key(replace(UNIT, stamp="")),
        key(revision=2),
        key(weights="v"),
        key(pose="e"),
        key(other="d"),
    }
    assert len(keys) == 8
    assert all(len(k) == 40 and set(k) <= set("0123456789abcdef") for k in keys)


def test_nothing_else_enters_the_key():
    """Where files lie, names and shards are free to change."""
    moved = replace(UNIT, id="x", label="y", route=0, sources={"image": "/elsewhere.png"})
    assert key(moved) == key()
    assert key(replace(UNIT, upstream={"pose": ("pose", "other")})) == key()


def test_keys_do_not_change_between_releases():
    """A store filled by an earlier version stays valid."""
    assert key() == "d5f0a2621224d97805bfb8cd6697e6160b66bbc6"


def test_entries_leave_out_what_is_empty():
    """Ledgers of thousands of units stay small."""
    text = Ledger("m", "s", {"u": Result(Status.DONE, key="k", digest="d")}).to_json()
    assert json.loads(text)["units"]["u"] == {"status": "done", "key": "k", "digest": "d"}
