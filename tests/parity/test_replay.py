from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dispose_stages.models.transformer import pack_projections
from tests.parity import replay, subset
from tests.parity.case import Case, Check, Family, SkipCase
from tests.parity.families.networks import arrangements

SUBSET = Path(__file__).parent / "golden"
RECORDINGS = Path(__file__).parents[3] / "shared" / "golden"


def all_cases():
    """The subset that is kept here, and the other recordings where they are present."""
    names = set()
    for root in (SUBSET, RECORDINGS):
        if not root.is_dir():
            continue
        for case, family in replay.find_cases(root):
            if case.name not in names:
                names.add(case.name)
                marks = [pytest.mark.slow] if family is not None and family.slow else []
                yield pytest.param(case, family, id=case.name, marks=marks)


# diffusers' Euler scheduler hands tensors to numpy.array, whose protocol has grown since.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
@pytest.mark.parametrize(("case", "family"), list(all_cases()))
def test_recording(case, family):
    """Every recorded number is met; a recording that nothing replays is a failure."""
    outcome, checks, reason = replay.replay_case(case, family)
    assert outcome == "ok", reason or [check for check in checks if not check.passed]


def test_subset_is_complete_and_small():
    """What `subset` lists is what lies here, within the limit."""
    files = {
        path.relative_to(SUBSET).as_posix(): path.stat().st_size
        for path in SUBSET.rglob("*")
        if path.is_file()
    }
    assert sorted(files) == sorted(subset.CASES)
    assert sum(files.values()) <= subset.LIMIT_BYTES


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not here")
@pytest.mark.parametrize("name", [n for n in subset.CASES if n.endswith((".npz", ".json"))])
def test_subset_holds_the_recorded_numbers(name):
    """Packing changed no bit."""
    ours, recorded = Case(SUBSET, SUBSET / name), Case(RECORDINGS, RECORDINGS / name)
    if name.endswith(".json"):
        assert ours.json == recorded.json
        return
    assert ours.keys() == recorded.keys()
    assert ours.meta == recorded.meta
    for key in recorded.keys():  # noqa: SIM118 - a Case is no mapping
        assert ours[key].dtype == recorded[key].dtype
        assert np.array_equal(ours[key], recorded[key], equal_nan=ours[key].dtype.kind == "f")


def made(tmp_path, *checks, error=None):
    """Outcome of a family that answers with these checks, or with an error."""

    def answer(_):
        if error is not None:
            raise error
        yield from checks

    return replay.replay_case(Case(tmp_path, tmp_path / "a.npz"), Family("*", answer))


def test_verdicts(tmp_path):
    """At the limit passes; beyond it, NaN, no comparison and errors fail; skips say why."""
    good, bad = Check("a", 1.0, 1.0), Check("b", 1.1, 1.0)
    assert made(tmp_path, good)[0] == "ok"
    assert made(tmp_path, good, bad)[::2] == ("FAIL", "b")
    assert made(tmp_path, Check("c", float("nan"), 1.0))[0] == "FAIL"
    assert made(tmp_path)[::2] == ("FAIL", "nothing was compared")
    assert made(tmp_path, error=KeyError("x"))[0] == "FAIL"
    assert made(tmp_path, error=SkipCase("too big"))[::2] == ("skip", "too big")
    assert replay.replay_case(Case(tmp_path, tmp_path / "a.npz"), None)[0] == "skip"


def write_case(path, **arrays):
    """A recording of frame sampling, or of anything."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [
        "avg_fps",
        "sample_stride",
        "n_frames",
        "effective_stride",
        "n_sampled",
        "last_index",
    ]
    meta = json.dumps({"columns": columns})
    np.savez(path, meta_json=np.array(meta), **arrays)


def test_another_directory_is_replayed(tmp_path, capsys):
    """Dispatch on folder and prefix, a line per case, the count last, exit status 1 on failure."""
    good, bad = [[60.0, 2.0, 10.0, 4.0, 3.0, 8.0]], [[60.0, 2.0, 10.0, 4.0, 3.0, 9.0]]
    write_case(tmp_path / "pure" / "frame_sampling_x1.npz", table=np.array(good))
    write_case(tmp_path / "other" / "thing.npz", table=np.array(good))
    assert replay.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "1 passed, 0 failed, 1 skipped"
    assert lines[0].startswith("other/thing")
    assert "skip: no family claims this file" in lines[0]
    write_case(tmp_path / "pure" / "frame_sampling_x2.npz", table=np.array(bad))
    assert replay.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 1 failed, 1 skipped"
    assert replay.main([str(tmp_path), "--only", "pure/*1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed, 0 skipped"


@pytest.mark.parametrize(
    "only",
    [
        "modules/pose_net",
        *(
            pytest.param(only, marks=pytest.mark.slow)
            for only in ("modules/unet", "e2e/*", "pipeline/*")
        ),
    ],
)
def test_networks_lie_in_memory_as_on_a_gpu(only, capsys, monkeypatch):
    """The recorded numbers with channels last and packed projections too."""
    arranged = []

    def noted(network):
        arranged.append(network)
        pack_projections(network)

    monkeypatch.setattr(replay, "pack_projections", noted)
    assert replay.main([str(SUBSET), "--arranged", "--only", only]) == 0
    assert arranged
    count = int(capsys.readouterr().out.splitlines()[-1].split()[0])
    assert count == len(list(replay.find_cases(SUBSET, only)))
    assert not arrangements
