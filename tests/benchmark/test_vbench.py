from __future__ import annotations

import json

import pytest

from dispose_stages.batch.index import write_index
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.scores import write_scores
from dispose_stages.benchmark.records import read_scores
from dispose_stages.benchmark.vbench import export_videos, import_results
from dispose_stages.errors import StoreError
from tests.toy_run import plan_run


@pytest.fixture
def run(tmp_path):
    """Four delivered pairs."""
    run = plan_run(tmp_path)
    run.perform_all()
    run.layout.videos.mkdir(parents=True, exist_ok=True)
    for pair in run.plan.rows:
        (run.layout.videos / f"{pair.pair_id}.mp4").write_bytes(pair.pair_id.encode())
    outcomes = RunOutcomes.read(run.layout.root)
    write_index(outcomes)
    write_scores(outcomes)
    return run


def test_videos_lie_flat_under_their_pairs_ids(run, tmp_path):
    """Nothing else in the folder; twice is the same."""
    folder = tmp_path / "flat"
    for _ in range(2):
        assert export_videos(run.layout.root, folder) == (4, 4)
    assert sorted(p.name for p in folder.iterdir()) == [
        "i0_v0.mp4",
        "i0_v1.mp4",
        "i1_v0.mp4",
        "i1_v1.mp4",
    ]
    assert (folder / "i1_v0.mp4").read_bytes() == b"i1_v0"
    (folder / "other.txt").touch()
    with pytest.raises(StoreError, match=r"other files, such as other\.txt"):
        export_videos(run.layout.root, folder)


def test_results_stand_in_the_table_with_what_is_missing(run, tmp_path):
    """A video that VBench did not judge has a reason."""
    videos = [{"video_path": f"x/i0_v{n}.mp4", "video_results": 0.5 + n} for n in range(2)]
    results = tmp_path / "r.json"
    results.write_text(json.dumps({"motion_smoothness": [1.0, videos]}))
    assert import_results(run.layout.root, results) == ["vbench_motion_smoothness"]
    scores = read_scores([run.layout.root]).set_index("pair_id")
    assert scores["value"].dropna().to_dict() == {"i0_v0": 0.5, "i0_v1": 1.5}
    assert scores.loc["i1_v0", "reason"] == "not_in_vbench_results"


@pytest.mark.parametrize("text", ["no json", "[]", '{"a": 1}', '{"a": [1, [{"b": 2}]]}'])
def test_another_file_is_refused(run, tmp_path, text):
    """In one line."""
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(StoreError, match="not a result of VBench"):
        import_results(run.layout.root, tmp_path / "r.json")
